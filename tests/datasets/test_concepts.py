"""Concept sets: what is read, what is dropped, what is reported."""

import builtins

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.datasets import concepts
from dissectbench.datasets.concepts import ConceptSet, Report
from dissectbench.harness.errors import InputError


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "words.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_file_gives_its_lines_trimmed_each_once_and_counts_the_rest(file):
    found = concepts.from_file(file(" red \n\nblue\r\nred\n\tsea  lion\nBlue\n  \n"))
    assert found.name == "words"
    assert found.words == ("red", "blue", "sea lion", "Blue")
    assert found.report == Report(read=7, blank=2, duplicates=1)
    assert found.summary() == "words: 4 concepts (dropped: 2 blank, 1 duplicate)"


def test_case_is_kept_unless_lower_is_asked_for(file):
    path = file("Boat\nboat\nBOAT\nnight\n")
    assert concepts.from_file(path).words == ("Boat", "boat", "BOAT", "night")
    lower = concepts.from_file(path, name="small", case="lower")
    assert (lower.name, lower.words, lower.report.duplicates) == ("small", ("boat", "night"), 2)
    with pytest.raises(InputError, match="did you mean lower"):
        concepts.from_file(path, case="lowre")  # pyright: ignore[reportArgumentType]


def test_nothing_dropped_nothing_said(file):
    assert concepts.from_file(file("red\nblue")).summary() == "words: 2 concepts"


def test_a_byte_order_mark_is_no_part_of_the_first_word(file):
    assert concepts.from_file(file(b"\xef\xbb\xbfred\nred\n")).words == ("red",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n\t\n", "is empty"),
        (b"red\nbl\xfce\n", r"words.txt, line 2: not UTF-8 text \(byte 0xfc at offset 6\)"),
        ("red\nblue\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("red\nblue\n".encode("utf-16-le"), "line 1: not UTF-8 text"),
    ],
)
def test_a_file_without_words_or_not_in_utf8_is_refused(file, content, says):
    with pytest.raises(InputError, match=says):
        concepts.from_file(file(content))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*none\.txt"):
        concepts.from_file(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot read"):
        concepts.from_file(tmp_path)


words = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1)


@given(words, st.sampled_from(["keep", "lower"]))
def test_every_entry_is_kept_or_counted(entries, case):
    try:
        found = concepts.from_words(entries, "set", case)
    except InputError:
        assert all(not entry.strip() for entry in entries)
        return
    report = found.report
    assert report.read == len(entries) == len(found) + report.blank + report.duplicates
    assert len(set(found.words)) == len(found.words)
    assert all(word == " ".join(word.split()) != "" for word in found.words)
    assert concepts.from_words(found.words, "set", case).words == found.words


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=4))
def test_a_union_keeps_each_word_once_where_it_first_stands(lists):
    sets = [concepts.from_words(entries, f"s{k}") for k, entries in enumerate(lists)]
    union = concepts.union(sets)
    assert list(union.words) == list(dict.fromkeys(word for entries in lists for word in entries))
    assert union.report.duplicates == sum(map(len, sets)) - len(union)
    assert union.name == "+".join(s.name for s in sets)
    assert concepts.union({s.name: s for s in sets}) == union


def test_a_union_can_ignore_case_and_refuses_to_be_empty():
    sets = [ConceptSet("a", ("Boat", "sea")), ConceptSet("b", ("boat",))]
    assert concepts.union(sets, name="both").words == ("Boat", "sea", "boat")
    assert concepts.union(sets, case="lower").words == ("boat", "sea")
    with pytest.raises(InputError, match="at least one"):
        concepts.union([])


def test_the_fingerprint_tells_words_and_order_not_names():
    a = ConceptSet("a", ("red", "blue"))
    assert a.fingerprint() == ConceptSet("b", ("red", "blue"), Report(read=9)).fingerprint()
    assert a.fingerprint() != ConceptSet("a", ("blue", "red")).fingerprint()
    assert a.fingerprint() != ConceptSet("a", ("red,blue",)).fingerprint()


def test_broden_labels_become_readable_and_homonyms_one(shared):
    found = concepts.from_broden(shared / "golden" / "netdissect" / "broden_tiny")
    assert found.report == Report(read=276, duplicates=1)
    assert {"purple", "hospital room", "hot tub-outdoor", "swimming pool", "striped"} <= set(found.words)
    assert not any("_" in word or word.endswith(("-c", "-s")) for word in found.words)


@pytest.mark.parametrize(
    ("label", "word"),
    [
        ("black-c", "black"),
        ("art_gallery-s", "art gallery"),
        ("balcony-exterior-s", "balcony-exterior"),
        ("t-shirt", "t-shirt"),
    ],
)
def test_only_suffix_and_underscores_are_taken_from_a_label(label, word):
    assert concepts.readable(label) == word


def test_class_names_come_from_a_weights_enum():
    found = concepts.from_classes()
    assert found.name == "ResNet50_Weights.IMAGENET1K_V2"
    assert len(found) == 1000
    assert found.words[:2] == ("tench", "goldfish")
    with pytest.raises(InputError, match="did you mean ResNet50_Weights"):
        concepts.from_classes("ResNet50_Weights.IMAGENET1K_V3")
    with pytest.raises(InputError, match="no class names"):
        concepts.from_classes("resnet50")


def test_common_words_are_words_most_frequent_first():
    wordfreq = pytest.importorskip("wordfreq")
    found = concepts.common_words(2000)
    assert found.name == "words2000"
    assert len(found) == 2000
    assert all(word.isalpha() and len(word) > 1 for word in found.words)
    frequencies = [wordfreq.word_frequency(word, "en") for word in found.words]
    assert frequencies == sorted(frequencies, reverse=True)
    assert found.report.read == 2000 + found.report.not_words
    assert "not a word" in found.summary()
    assert concepts.common_words(500).words == found.words[:500]


def test_more_words_than_there_are_and_fewer_than_one_are_refused():
    pytest.importorskip("wordfreq")
    with pytest.raises(InputError, match=r"knows \d+ English words, not 10000000"):
        concepts.common_words(10_000_000)
    with pytest.raises(InputError, match="at least 1"):
        concepts.common_words(0)


def test_without_wordfreq_the_error_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **named):
        if name == "wordfreq":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"dissectbench\[words\]"):
        concepts.common_words()
