"""References: the true texts of units, from files, lists and probing sets."""

import numpy as np
import pytest

from dissectbench.datasets import references
from dissectbench.datasets.image_folders import ImageFolder
from dissectbench.datasets.references import References
from dissectbench.harness.errors import InputError


@pytest.fixture
def file(tmp_path):
    def write(content, name="labels.txt"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


def test_a_line_is_one_text_or_one_text_per_synonym(file):
    path = file("tench, Tinca tinca\ngoldfish\ncrane,, crane \n")
    whole = references.from_file(path)
    assert whole == References("labels", (("tench, Tinca tinca",), ("goldfish",), ("crane,, crane",)))
    parts = references.from_file(path, alternatives=True, name="fish")
    assert parts == References("fish", (("tench", "Tinca tinca"), ("goldfish",), ("crane",)))
    assert whole.fingerprint() != parts.fingerprint()


@pytest.mark.parametrize("prefix", ["", "n{:08d} "])
def test_imagenet_reads_a_label_file_with_or_without_ids(file, prefix):
    lines = [f"{prefix.format(i + 1_440_764)}class {i}, synonym {i}" for i in range(1000)]
    imagenet = references.imagenet(alternatives=True, file=file("\n".join(lines) + "\n\n"))
    assert imagenet.name == "imagenet"
    assert len(imagenet) == 1000
    assert imagenet.texts[999] == ("class 999", "synonym 999")


def test_imagenet_without_a_file_has_torchvisions_names():
    imagenet = references.imagenet()
    assert len(imagenet) == 1000
    assert imagenet.texts[0] == ("tench",)
    assert all(len(texts) == 1 for texts in imagenet.texts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "labels.txt is empty"),
        ("\n\n", "labels.txt is empty"),
        ("tench\n\ngoldfish\n", "line 2: blank line"),
        ("n00000002 tench\nn00000001 goldfish\n", "line 2: n00000001 does not follow n00000002"),
    ],
)
def test_a_file_whose_lines_are_not_classes_in_order_is_refused(file, content, message):
    with pytest.raises(InputError, match=message):
        references.from_file(file(content))


def test_an_imagenet_file_must_list_all_classes(file):
    with pytest.raises(InputError, match="lists 2 classes; ImageNet has 1000"):
        references.imagenet(file=file("tench\ngoldfish"))


def test_a_list_gives_one_name_or_several_per_unit():
    assert references.from_list(["cat", ["dog", "hound"]]).texts == (("cat",), ("dog", "hound"))


@pytest.mark.parametrize("names", [[], ["cat", ""], ["cat", []], ["cat", ["dog", " "]], ["cat", [3]]])
def test_a_unit_without_a_text_is_refused(names):
    with pytest.raises(InputError, match=r"empty|no text for unit 1"):
        references.from_list(names)


def test_a_string_is_not_read_as_a_list_of_letters():
    with pytest.raises(TypeError, match="not the string"):
        references.from_list("cat")
    with pytest.raises(TypeError, match="unit 1 must be a tuple"):
        References("x", (("cat",), "dog"))  # pyright: ignore[reportArgumentType]


def test_the_classes_of_a_probing_set_are_references(tmp_path):
    from PIL import Image

    for name in ("art_gallery", "sea"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / name / "1.png")
    probe = ImageFolder(tmp_path, name="places")
    assert references.of_probe(probe) == References("places", (("art gallery",), ("sea",)))
    probe.classes = None
    with pytest.raises(InputError, match="places has no classes"):
        references.of_probe(probe)
