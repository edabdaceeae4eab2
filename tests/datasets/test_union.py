"""The union of several probing sets."""

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.image_folders import FlatFolder, ImageFolder
from dissectbench.datasets.union import Union
from dissectbench.harness.errors import InputError


@pytest.fixture
def folders(tmp_path):
    for k, path in enumerate(["a/cat/1", "a/cat/2", "a/dog/1", "b/dog/1", "b/elk/1", "flat/1"]):
        file = tmp_path / f"{path}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (k + 2, 2)).save(file)
    return tmp_path


def test_the_images_of_the_sets_follow_each_other(folders):
    union = Union([ImageFolder(folders / "a"), FlatFolder(folders / "flat"), ImageFolder(folders / "b")])
    assert len(union) == 6
    assert [union.image(i).size[0] for i in range(6)] == [2, 3, 4, 7, 5, 6]
    assert union.locate(3) == str(folders / "flat" / "1.png")
    assert union.name == "a+flat+b"
    for index in (-1, 6):
        with pytest.raises(IndexError):
            union.image(index)


def test_classes_are_joined_by_name(folders):
    union = Union({"first": ImageFolder(folders / "a"), "second": ImageFolder(folders / "b")})
    assert union.classes == ("cat", "dog", "elk")
    assert union.labels is not None
    assert union.labels.tolist() == [0, 0, 1, 1, 2]


def test_equal_class_lists_are_kept_even_if_two_classes_share_a_name(folders):
    probe = ImageFolder(folders / "a", class_names=["crane", "crane"])
    union = Union([probe, probe])
    assert union.classes == ("crane", "crane")
    assert union.labels is not None
    assert union.labels.tolist() == [0, 0, 1, 0, 0, 1]


def test_there_are_no_classes_if_one_set_has_none(folders):
    union = Union([ImageFolder(folders / "a"), FlatFolder(folders / "flat")])
    assert union.classes is None
    assert union.labels is None


def test_annotations_are_joined_by_name_and_category(folders):
    union = Union(
        [
            ImageFolder(folders / "a", "classes"),
            FlatFolder(folders / "flat"),
            ImageFolder(folders / "b", ["colours", "classes"]),
        ]
    )
    annotations = union.annotations
    assert annotations is not None
    assert annotations.categories == ("class", "color")
    names = {label.number: label.name for label in annotations.labels}
    assert len(names) == 14
    whole = [[names[n] for n in annotations.of(i).whole] for i in range(6)]
    assert whole == [["cat"], ["cat"], ["dog"], [], ["dog"], ["elk"]]
    assert {names[n] for n in np.unique(annotations.of(5).planes)} == {"black"}
    assert annotations.of(3).planes.shape == (0, 112, 112)


def test_without_annotated_sets_there_are_no_annotations(folders):
    assert Union([FlatFolder(folders / "flat")]).annotations is None


def test_the_fingerprint_depends_on_the_sets_and_their_order(folders):
    a, b = ImageFolder(folders / "a", "classes"), ImageFolder(folders / "b", "classes")
    assert Union([a, b]).fingerprint() == Union([a, b], name="other").fingerprint()
    assert Union([a, b]).fingerprint() != Union([b, a]).fingerprint()
    annotations = [Union(sets).annotations for sets in ([a, b], [b, a], [a])]
    fingerprints = {joined.fingerprint() for joined in annotations if joined is not None}
    assert len(fingerprints) == 3


def test_an_empty_union_is_refused():
    with pytest.raises(InputError, match="at least one"):
        Union([])
