"""Concept sets: which words are read, dropped and reported."""

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


def test_lines_are_trimmed_and_dropped_ones_are_counted(file):
    concept_set = concepts.from_file(file(" red \n\nblue\r\nred\n\tsea  lion\nBlue\n  \n"))
    assert concept_set.name == "words"
    assert concept_set.words == ("red", "blue", "sea lion", "Blue")
    assert concept_set.report == Report(read=7, blank=2, duplicates=1)
    assert concept_set.summary() == "words: 4 concepts (dropped: 2 blank, 1 duplicate)"


def test_case_is_kept_by_default(file):
    path = file("Boat\nboat\nBOAT\nnight\n")
    assert concepts.from_file(path).words == ("Boat", "boat", "BOAT", "night")
    lower = concepts.from_file(path, name="small", case="lower")
    assert (lower.name, lower.words, lower.report.duplicates) == ("small", ("boat", "night"), 2)
    with pytest.raises(InputError, match="did you mean lower"):
        concepts.from_file(path, case="lowre")  # pyright: ignore[reportArgumentType]


def test_the_summary_mentions_dropped_entries_only_if_there_are_any(file):
    assert concepts.from_file(file("red\nblue")).summary() == "words: 2 concepts"


def test_a_byte_order_mark_is_not_part_of_the_first_word(file):
    assert concepts.from_file(file(b"\xef\xbb\xbfred\nred\n")).words == ("red",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n\t\n", "is empty"),
        (b"red\nbl\xfce\n", r"words.txt, line 2: not UTF-8 text \(byte 0xfc at offset 6\)"),
        ("red\nblue\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("red\nblue\n".encode("utf-16-le"), "line 1: not UTF-8 text"),
    ],
)
def test_an_empty_file_or_one_that_is_not_utf8_is_refused(file, content, message):
    with pytest.raises(InputError, match=message):
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
        concept_set = concepts.from_words(entries, "set", case)
    except InputError:
        assert all(not entry.strip() for entry in entries)
        return
    report = concept_set.report
    assert report.read == len(entries) == len(concept_set) + report.blank + report.duplicates
    assert len(set(concept_set.words)) == len(concept_set.words)
    assert all(word == " ".join(word.split()) != "" for word in concept_set.words)
    assert concepts.from_words(concept_set.words, "set", case).words == concept_set.words


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=4))
def test_a_union_keeps_the_first_occurrence_of_each_word(lists):
    sets = [concepts.from_words(entries, f"s{k}") for k, entries in enumerate(lists)]
    union = concepts.union(sets)
    assert list(union.words) == list(dict.fromkeys(word for entries in lists for word in entries))
    assert union.report.duplicates == sum(map(len, sets)) - len(union)
    assert union.name == "+".join(s.name for s in sets)
    assert concepts.union({s.name: s for s in sets}) == union


def test_a_union_can_ignore_case_and_must_not_be_empty():
    sets = [ConceptSet("a", ("Boat", "sea")), ConceptSet("b", ("boat",))]
    assert concepts.union(sets, name="both").words == ("Boat", "sea", "boat")
    assert concepts.union(sets, case="lower").words == ("boat", "sea")
    with pytest.raises(InputError, match="at least one"):
        concepts.union([])


def test_the_fingerprint_depends_on_words_and_order_but_not_on_names():
    a = ConceptSet("a", ("red", "blue"))
    assert a.fingerprint() == ConceptSet("b", ("red", "blue"), Report(read=9)).fingerprint()
    assert a.fingerprint() != ConceptSet("a", ("blue", "red")).fingerprint()
    assert a.fingerprint() != ConceptSet("a", ("red,blue",)).fingerprint()


def test_broden_labels_become_readable_and_unique(shared):
    concept_set = concepts.from_broden(shared / "golden" / "netdissect" / "broden_tiny")
    assert concept_set.report == Report(read=276, duplicates=1)
    assert {"purple", "hospital room", "hot tub-outdoor", "swimming pool", "striped"} <= set(
        concept_set.words
    )
    assert not any("_" in word or word.endswith(("-c", "-s")) for word in concept_set.words)


@pytest.mark.parametrize(
    ("label", "word"),
    [
        ("black-c", "black"),
        ("art_gallery-s", "art gallery"),
        ("balcony-exterior-s", "balcony-exterior"),
        ("t-shirt", "t-shirt"),
    ],
)
def test_only_the_suffix_and_underscores_are_removed_from_a_label(label, word):
    assert concepts.readable(label) == word


def test_class_names_come_from_a_weights_enum():
    concept_set = concepts.from_classes()
    assert concept_set.name == "ResNet50_Weights.IMAGENET1K_V2"
    assert len(concept_set) == 1000
    assert concept_set.words[:2] == ("tench", "goldfish")
    with pytest.raises(InputError, match="did you mean ResNet50_Weights"):
        concepts.from_classes("ResNet50_Weights.IMAGENET1K_V3")
    with pytest.raises(InputError, match="no class names"):
        concepts.from_classes("resnet50")


def test_common_words_are_sorted_by_frequency():
    wordfreq = pytest.importorskip("wordfreq")
    concept_set = concepts.common_words(2000)
    assert concept_set.name == "words2k"
    assert len(concept_set) == 2000
    assert all(word.isalpha() and len(word) > 1 for word in concept_set.words)
    frequencies = [wordfreq.word_frequency(word, "en") for word in concept_set.words]
    assert frequencies == sorted(frequencies, reverse=True)
    assert concept_set.report.read == 2000 + concept_set.report.not_words
    assert "not a word" in concept_set.summary()
    fewer = concepts.common_words(500)
    assert (fewer.name, fewer.words) == ("words500", concept_set.words[:500])


def test_an_impossible_number_of_words_is_refused():
    pytest.importorskip("wordfreq")
    with pytest.raises(InputError, match=r"has only \d+ English words, not 10000000"):
        concepts.common_words(10_000_000)
    with pytest.raises(InputError, match="at least 1"):
        concepts.common_words(0)


def test_the_error_without_wordfreq_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **named):
        if name == "wordfreq":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"dissectbench\[words\]"):
        concepts.common_words()
