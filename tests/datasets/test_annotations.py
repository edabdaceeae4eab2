"""Annotations from classes and pixel colours, and merging of several annotations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dissectbench.datasets.annotations import (
    ClassAnnotations,
    ColourAnnotations,
    Numbering,
    annotate,
    merge,
)
from dissectbench.datasets.colours import COLOURS, NAMES, name_colours
from dissectbench.datasets.probing_set import Annotations, ImageAnnotation, Label, ProbingSet
from dissectbench.harness.errors import InputError


class ImageList(ProbingSet):
    """Images in memory."""

    def __init__(self, images, classes=None, labels=None):
        self.name, self.images = "images", images
        self.classes, self.labels = classes, labels

    def __len__(self):
        return len(self.images)

    def image(self, index):
        return Image.fromarray(self.images[index])

    def locate(self, index):
        return str(index)

    def fingerprint(self):
        return str([image.tobytes() for image in self.images])


class Words(Annotations):
    """Labels of (name, category); image i has label i + 1 in a plane and as label of the whole image."""

    def __init__(self, pairs):
        self.labels = tuple(Label(i, *pair) for i, pair in enumerate(pairs, 1))
        self.categories = tuple(dict.fromkeys(category for _, category in pairs))

    def of(self, index):
        return ImageAnnotation((1, 2), np.array([[[0, index + 1]]], np.int32), (index + 1,))

    def fingerprint(self):
        return str(self.labels)


def halves(left, right, shape=(8, 8)):
    image = np.empty((*shape, 3), np.uint8)
    image[:, : shape[1] // 2], image[:, shape[1] // 2 :] = left, right
    return image


# --- classes ---------------------------------------------------------------------------------------


def test_the_class_of_an_image_labels_the_whole_image():
    annotations = ClassAnnotations(("cat", "dog"), np.array([1, 0, 1]), mask_size=7)
    assert annotations.labels == (Label(1, "cat", "class"), Label(2, "dog", "class"))
    of_images = [annotations.of(i) for i in range(3)]
    assert [a.whole for a in of_images] == [(2,), (1,), (2,)]
    assert all(a.shape == (7, 7) and a.planes.shape == (0, 7, 7) for a in of_images)


def test_the_fingerprint_of_classes_depends_on_names_labels_and_size():
    fingerprints = {
        ClassAnnotations(names, np.array(labels), size).fingerprint()
        for names in (("cat", "dog"), ("cat", "hog"))
        for labels in ([0, 1], [1, 0])
        for size in (7, 8)
    }
    assert len(fingerprints) == 8


# --- colours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((128, 128, 128), "grey"),
        ((255, 0, 0), "red"),
        ((0, 128, 0), "green"),
        ((0, 0, 255), "blue"),
        ((255, 255, 0), "yellow"),
        ((255, 165, 0), "orange"),
        ((255, 192, 203), "pink"),
        ((128, 0, 128), "purple"),
        ((139, 69, 19), "brown"),
        ((135, 206, 235), "blue"),  # a clear sky
        ((86, 125, 70), "green"),  # grass
    ],
)
def test_common_colours_have_their_usual_names(rgb, name):
    assert NAMES[name_colours(np.array(rgb, np.uint8))] == name


def test_the_named_colours_are_those_of_the_published_survey():
    survey = pytest.importorskip("matplotlib.colors").XKCD_COLORS
    expected = {name: set() for name in NAMES}
    for name, code in survey.items():
        noun = name.removeprefix("xkcd:").split()[-1].replace("gray", "grey")
        if noun in expected:
            expected[noun].add(code.removeprefix("#"))
    assert {name: set(codes.split()) for name, codes in COLOURS.items()} == expected


def lab(rgb):
    """CIELAB (D65) of one sRGB colour in [0, 255], computed from the definition."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.asarray(rgb) / 255]
    xyz = np.array(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    )
    ratios = xyz @ linear / [0.95047, 1.0, 1.08883]
    f = [r ** (1 / 3) if r > 0.008856 else 7.787 * r + 16 / 116 for r in ratios]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


REFERENCES = [(name, lab(list(bytes.fromhex(code)))) for name in NAMES for code in COLOURS[name].split()]


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_pixel_has_the_basic_colour_of_the_nearest_named_colour(rgb):
    centre = lab([channel // 4 * 4 + 1.5 for channel in rgb])
    distances = sorted(
        (float(np.linalg.norm(centre - reference)), name) for name, reference in REFERENCES
    )
    # The two conversions to CIELAB differ in rounding: near a tie, either name is right.
    nearest = {name for distance, name in distances if distance < distances[0][0] + 1e-3}
    assert NAMES[name_colours(np.array(rgb, np.uint8))] in nearest


def test_every_pixel_has_exactly_one_colour():
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    annotation = ColourAnnotations(ImageList([image])).of(0)
    assert annotation.shape == (30, 20)
    assert annotation.planes.shape == (1, 30, 20)
    assert annotation.planes.dtype == np.int32
    assert annotation.planes.min() >= 1
    assert annotation.planes.max() <= 11
    one_by_one = [[int(name_colours(pixel)) + 1 for pixel in row] for row in image]
    assert annotation.planes[0].tolist() == one_by_one


@pytest.mark.parametrize("shape", [(8, 8), (64, 20), (3, 4)])
def test_mask_size_squashes_the_image_to_a_square(shape):
    probe = ImageList([halves((255, 0, 0), (0, 0, 255), shape)])
    plane = ColourAnnotations(probe, mask_size=6).of(0).planes[0]
    red, blue = NAMES.index("red") + 1, NAMES.index("blue") + 1
    assert plane.tolist() == [[red] * 3 + [blue] * 3] * 6


def test_the_fingerprint_of_colours_depends_on_images_and_size():
    red, blue = ImageList([halves(255, 0)]), ImageList([halves(0, 255)])
    fingerprints = {
        ColourAnnotations(probe, size).fingerprint() for probe in (red, blue) for size in (None, 8)
    }
    assert len(fingerprints) == 4


# --- several annotations of the same images --------------------------------------------------------


def test_classes_and_colours_share_one_numbering():
    probe = ImageList([halves((255, 0, 0), (0, 0, 255), (4, 6))], ("cat", "dog"), np.array([1]))
    annotations = annotate(probe, ["classes", "colours"])
    assert annotations is not None
    assert annotations.categories == ("class", "color")
    assert [label.number for label in annotations.labels] == list(range(1, 14))
    annotation = annotations.of(0)
    assert annotation.shape == (4, 6)
    assert annotation.whole == (2,)
    names = {annotations.labels[n - 1].name for n in np.unique(annotation.planes)}
    assert names == {"red", "blue"}


pairs = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["x", "y"])), min_size=1, max_size=6
)


@given(st.lists(pairs, min_size=1, max_size=4))
def test_the_numbering_keeps_every_label_and_joins_equal_ones(members):
    numbering = Numbering([Words(member) for member in members])
    assert [label.number for label in numbering.labels] == list(range(1, len(numbering.labels) + 1))
    for member, table in zip(members, numbering.tables, strict=True):
        assert table[0] == 0
        translated = [numbering.labels[n - 1] for n in table[1:]]
        assert [(label.name, label.category) for label in translated] == member
        assert len(set(table.tolist())) == len(member) + 1  # labels of one member stay distinct
    highest = {p: max(member.count(p) for member in members) for member in members for p in member}
    assert len(numbering.labels) == sum(highest.values())


def test_merging_translates_planes_and_whole_image_labels():
    merged = merge([Words([("a", "x"), ("b", "x")]), Words([("b", "x"), ("c", "y")])])
    assert [(label.name, label.category) for label in merged.labels] == [
        ("a", "x"),
        ("b", "x"),
        ("c", "y"),
    ]
    annotation = merged.of(1)  # b of the first member, c of the second
    assert annotation.planes.tolist() == [[[0, 2]], [[0, 3]]]
    assert annotation.whole == (2, 3)


def test_planes_of_different_shapes_cannot_be_merged():
    probe = ImageList([halves(0, 255)])
    with pytest.raises(ValueError, match="differ in shape"):
        merge([ColourAnnotations(probe), ColourAnnotations(probe, mask_size=4)]).of(0)


@pytest.mark.parametrize(
    ("kinds", "mask_size", "message"),
    [
        ("colors", None, "did you mean colours"),
        (["classes"], None, "no class labels"),
        ("colours", 0, "mask_size must be a positive integer"),
    ],
)
def test_impossible_annotations_are_refused(kinds, mask_size, message):
    with pytest.raises(InputError, match=message):
        annotate(ImageList([]), kinds, mask_size)


def test_annotations_are_optional():
    assert annotate(ImageList([]), None) is None


def test_photographs_have_their_classes_and_plausible_colours(shared):
    from dissectbench.datasets.image_folders import ImageFolder

    probe = ImageFolder(shared / "real" / "cifar10" / "images", ["classes", "colours"], limit=200)
    assert probe.annotations is not None
    names = [label.name for label in probe.annotations.labels]
    counts = {name: np.zeros(len(names) + 1) for name in ("ship", "deer")}
    for i in range(len(probe)):
        annotation = probe.annotations.of(i)
        (number,) = annotation.whole
        assert names[number - 1] == probe.locate(i).split("/")[-2]
        if names[number - 1] in counts:
            counts[names[number - 1]] += np.bincount(annotation.planes.ravel(), minlength=len(names) + 1)
    share = {name: count / count.sum() for name, count in counts.items()}
    blue, brown = names.index("blue") + 1, names.index("brown") + 1
    assert share["ship"][blue] > 2 * share["deer"][blue]
    assert share["deer"][brown] > 2 * share["ship"][brown]
