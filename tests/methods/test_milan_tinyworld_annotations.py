"""Tests the annotations of tinyworld units: statistics of words under masks, and their wordings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.datasets.probing_set import Annotations, ImageAnnotation, Label
from dissectbench.datasets.tinyworld.words import CATEGORIES, NUMBER, OBJECTS, PARTS, TEXTURES
from dissectbench.methods.milan.tinyworld.annotations import (
    CommonContent,
    annotate,
    common_content,
    plural,
)
from dissectbench.methods.milan.tinyworld.train import SETTINGS
from dissectbench.methods.milan.tinyworld.word_statistics import (
    EDGE,
    block_means,
    word_planes,
    word_statistics,
)

SKY, CAR, WHEEL, RED, BLUE, SEA = (NUMBER[w] for w in ("sky", "car", "wheel", "red", "blue", "sea"))
ALL, UPPER, LOWER = slice(None), slice(0, 4), slice(4, 8)
LEFT, RIGHT = slice(0, 4), slice(4, 8)


def painted(*areas):
    """Returns the planes of an 8 x 8 image, with (plane, rows, columns, word) painted in order."""
    planes = np.zeros((3, 8, 8), np.int64)
    for plane, rows, columns, word in areas:
        planes[plane, rows, columns] = NUMBER[word]
    return planes


def scenery(thing="car", colour="red"):
    """Returns the planes of an image: sky, and below it a coloured thing to the left of sand."""
    return painted(
        (0, UPPER, ALL, "sky"),
        (0, LOWER, ALL, "sand"),
        (0, LOWER, LEFT, thing),
        (1, UPPER, ALL, "blue"),
        (1, LOWER, ALL, "yellow"),
        (1, LOWER, LEFT, colour),
    )


def mask_of(rows, columns):
    mask = np.zeros((8, 8))
    mask[rows, columns] = 1
    return mask


def statistics_of(*images):
    statistics = word_statistics(images)
    assert statistics is not None
    return statistics


@pytest.fixture(scope="module")
def overall():
    """Statistics of images of all objects in four colours."""
    colours = ("red", "green", "white", "black")
    images = [scenery(thing, colour) for thing in OBJECTS for colour in colours]
    return statistics_of(*((planes, np.ones((8, 8))) for planes in images))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_statistics_count_every_pixel_under_the_masks(seed, count):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        planes = np.stack([rng.integers(0, 3, (5, 5)), rng.integers(3, 6, (5, 5))])
        images.append((planes, rng.integers(0, 3, (5, 5)) / 2))
    shares, present, heights = np.zeros((6, 6)), np.zeros(6), np.zeros(6)
    masked = [(planes, mask) for planes, mask in images if mask.any()]
    for planes, mask in masked:
        in_image = np.zeros(6)
        for y in range(5):
            for x in range(5):
                weight = mask[y, x] / mask.sum() / len(masked)
                words = [word for word in planes[:, y, x] if word]
                for word in words:
                    in_image[word] += mask[y, x] / mask.sum()
                    heights[word] += weight * (0.9 - 0.2 * y)
                    for other in words:
                        shares[word, other] += weight
        present += in_image >= 0.05
    statistics = word_statistics(images)
    if not masked:
        assert statistics is None
        return
    assert statistics is not None
    assert np.allclose(statistics.shares[:6, :6], shares)
    assert np.allclose(statistics.presence[:6], present / len(masked))
    shown = np.diag(shares) > 0
    assert np.allclose(statistics.heights[:6][shown], heights[shown] / np.diag(shares)[shown])
    assert np.isnan(statistics.heights[:6][~shown]).all()


def test_the_share_of_a_word_within_another_is_measured():
    red, blue = (scenery(colour=colour) for colour in ("red", "blue"))
    statistics = statistics_of((red, np.ones((8, 8))), (blue, np.ones((8, 8))))
    assert statistics.share(CAR) == pytest.approx(1 / 4)
    assert statistics.share_within(RED, CAR) == pytest.approx(1 / 2)
    assert statistics.share_within(BLUE, SKY) == pytest.approx(1)
    assert statistics.share_within(RED, NUMBER["boat"]) == 0


def test_masks_are_reduced_to_the_resolution_of_the_labels():
    mask = np.zeros((4, 4), np.uint8)
    mask[0, 0] = mask[2:, 2:] = 1
    assert block_means(mask, 2).tolist() == [[0.25, 0], [0, 1]]


class OneCar(Annotations):
    """One image: a car before the sky, its wheel annotated in two planes."""

    categories = ("object", "part", "scene")
    labels = (
        Label(1, "sky", "object"),
        Label(2, "car", "object"),
        Label(3, "wheel", "part"),
        Label(4, "sea", "scene"),
    )

    def of(self, index):
        del index
        planes = np.zeros((3, 3, 4), np.int32)
        planes[0], planes[0, :, 2:] = 1, 2
        planes[1:, 0, 3] = 3
        return ImageAnnotation((3, 4), planes, (4,))

    def fingerprint(self):
        return "one"


def test_labels_become_words_scenes_and_edges():
    objects, part, same_part, scene, edges = next(iter(word_planes(OneCar(), 1)))
    assert objects.tolist() == [[SKY, SKY, CAR, CAR]] * 3
    assert part.nonzero() == (np.array([0]), np.array([3]))
    assert part[0, 3] == WHEEL
    assert not same_part.any()
    assert (scene == SEA).all()
    assert edges.tolist() == [[0, EDGE, EDGE, 0]] * 3


def test_an_object_under_the_masks_is_named_with_its_colour(overall):
    unit = statistics_of(*[(scenery(), mask_of(LOWER, LEFT))] * 5)
    assert common_content(unit, overall) == CommonContent("car", colours=("red",))


def test_a_colour_that_an_object_always_has_is_not_named(overall):
    unit = statistics_of(*((scenery(thing), mask_of(UPPER, ALL)) for thing in OBJECTS))
    assert common_content(unit, overall) == CommonContent("sky")


def test_a_colour_shared_by_many_objects_is_named_alone(overall):
    unit = statistics_of(*((scenery(thing), mask_of(LOWER, LEFT)) for thing in OBJECTS))
    assert common_content(unit, overall) == CommonContent(colours=("red",))


def test_two_objects_above_each_other_are_both_named(overall):
    unit = statistics_of(*((scenery(thing), mask_of(ALL, RIGHT)) for thing in OBJECTS))
    content = common_content(unit, replace(overall, shares=overall.shares * 0.4))
    named = (content.noun, *(content.beside or ()))
    assert named in {("sky", "above", "sand"), ("sand", "below", "sky")}


def test_a_part_is_named_with_its_object():
    def with_wheel(thing):
        planes = scenery(thing, "white")
        planes[2, 6:, LEFT] = WHEEL
        planes[2, 4:6, LEFT] = NUMBER["window"]
        return planes

    wheel = mask_of(slice(6, 8), LEFT)
    overall = statistics_of(*((with_wheel(thing), np.ones((8, 8))) for thing in OBJECTS))
    content = common_content(statistics_of(*[(with_wheel("car"), wheel)] * 5), overall)
    assert (content.noun, content.owner) == ("wheel", "car")
    content = common_content(statistics_of(*((with_wheel(t), wheel) for t in OBJECTS)), overall)
    assert (content.noun, content.owner) == ("wheel", None)


def test_masks_over_all_images_have_nothing_in_common(overall):
    assert common_content(overall, overall) == CommonContent()


CONTENTS = st.builds(
    CommonContent,
    noun=st.none() | st.sampled_from((*CATEGORIES["object"], *PARTS)),
    owner=st.none() | st.sampled_from(tuple(OBJECTS)),
    colours=st.lists(st.sampled_from(CATEGORIES["color"]), max_size=2, unique=True).map(tuple),
    texture=st.none() | st.sampled_from(TEXTURES),
    beside=st.none() | st.tuples(st.sampled_from(("above", "and")), st.sampled_from(tuple(OBJECTS))),
    scene=st.none() | st.sampled_from(CATEGORIES["scene"]),
    edge=st.booleans(),
)


@given(CONTENTS, st.integers(0, 100))
def test_every_content_has_three_complete_wordings(content, seed):
    texts = annotate(content, np.random.default_rng(seed))
    assert len(set(texts)) == 3
    for text in texts:
        words = text.split()
        assert text == " ".join(words)
        assert len(words) < SETTINGS.decoding.length
        assert set(content.colours) <= set(words)
        assert content.texture is None or content.texture in words
        if content.noun:
            assert {content.noun, plural(content.noun)} & set(words)
            assert content.owner is None or {content.owner, plural(content.owner)} & set(words)
    assert texts == annotate(content, np.random.default_rng(seed))


def test_plurals_are_english():
    singular = ("boat", "butterfly", "fish", "leaf", "canopy", "water", "sky", "house", "lamp", "cactus")
    expected = "boats butterflies fish leaves canopies water sky houses lamps cacti"
    assert " ".join(map(plural, singular)) == expected
    assert plural("bush") == "bushes"
