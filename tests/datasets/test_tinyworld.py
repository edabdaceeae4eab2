"""Tinyworld: its words, its images and their annotations."""

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.datasets.tinyworld.canvas import Canvas, box, ellipse, mix, rasterise
from dissectbench.datasets.tinyworld.captions import caption
from dissectbench.datasets.tinyworld.image_spec import ImageRequest, sample_spec
from dissectbench.datasets.tinyworld.objects import DRAWINGS
from dissectbench.datasets.tinyworld.rendering import render_image, spec_of
from dissectbench.datasets.tinyworld.scenes import PAINTERS
from dissectbench.datasets.tinyworld.textures import PATTERNS, Texture
from dissectbench.datasets.tinyworld.tinyworld import other_words
from dissectbench.datasets.tinyworld.words import (
    CATEGORIES,
    COLOURS,
    NUMBER,
    OBJECTS,
    SCENES,
    SYNONYMS,
    TEXTURES,
    WORDS,
)

# SHA-256 of pixels and label planes. If one changes on purpose, increase rendered_folder.FORMAT and
# retrain the networks.
DIGESTS = {
    (0, 0): "a95ab11b5e69b163",
    (0, 7): "7a27dbac7a6e8664",
    (1, 123): "6e3797ddc1160ff6",
}


def digest(seed, index):
    image = render_image(seed, index)
    total = hashlib.sha256()
    for array in (image.pixels, image.colour, image.object, image.texture, image.parts):
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


@cache
def sample(n, **request):
    return [render_image(5, i, ImageRequest(**request)) for i in range(n)]


def names(plane):
    return {WORDS[number - 1] for number in np.unique(plane) if number}


def test_every_word_is_one_lower_case_word_in_one_category():
    assert all(word.isascii() and word.isalpha() and word.islower() for word in (*WORDS, *SYNONYMS))
    assert len(set(WORDS)) == len(WORDS)
    assert not set(WORDS) & set(SYNONYMS)
    assert set(SYNONYMS.values()) <= set(WORDS)


def test_the_colours_are_the_eleven_basic_ones():
    assert sorted(COLOURS) == sorted(
        ["black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow"]
    )


def test_the_other_words_are_not_in_the_vocabulary():
    others = other_words()
    assert 300 < len(others) == len(set(others))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in others)
    assert not set(others) & {*WORDS, *SYNONYMS}


def test_every_object_scene_and_texture_can_be_drawn():
    assert set(DRAWINGS) == set(OBJECTS)
    assert set(PAINTERS) == set(SCENES)
    assert set(PATTERNS) == set(TEXTURES)
    for kind in OBJECTS:
        image = render_image(5, 0, ImageRequest(kind=kind, smaller_objects=()))
        assert names(image.parts) == set(OBJECTS[kind].parts), kind
    for name, scene in SCENES.items():
        visible = set().union(*(names(image.object) for image in sample(8, scene=name)))
        assert set(scene.backdrop) <= visible <= {*scene.backdrop, *OBJECTS}, name


@pytest.mark.parametrize("key", DIGESTS)
def test_images_and_label_planes_are_the_same_on_every_machine(key):
    assert digest(*key) == DIGESTS[key]


def test_an_image_does_not_depend_on_the_process_or_on_images_rendered_before():
    code = (
        "import hashlib, numpy as np\n"
        "from dissectbench.datasets.tinyworld.rendering import render_image\n"
        "np.random.seed(3); np.random.rand(7)\n"
        "print(hashlib.sha256(render_image(0, 7).pixels.tobytes()).hexdigest())"
    )
    render_image(0, 8)
    expected = hashlib.sha256(render_image(0, 7).pixels.tobytes()).hexdigest()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == expected


def test_images_of_different_seeds_and_indices_differ():
    digests = {digest(seed, index) for seed in (0, 1) for index in range(4)}
    assert len(digests) == 8


def test_pixels_have_the_colour_they_are_labelled_with():
    """The median colour under each label is nearest to one of its shades, with few exceptions."""
    shades = [(name, np.array(rgb)) for name, rgbs in COLOURS.items() for rgb in rgbs]
    correct = []
    for image in sample(40):
        half = image.pixels.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
        for name in names(image.colour):
            mask = image.colour == NUMBER[name]
            if mask.sum() < 60:  # too few pixels for a median: the noise is strong
                continue
            median = np.median(half[mask], axis=0)
            nearest = min(shades, key=lambda shade: float(np.sum((shade[1] - median) ** 2)))
            correct.append(nearest[0] == name)
    # Not 1: light makes a few dark shades look like others.
    assert np.mean(correct) > 0.97


def test_every_pixel_has_a_colour_and_an_object():
    for image in sample(40):
        assert (image.colour > 0).all()
        assert (image.object > 0).all()


def test_planes_contain_words_of_their_own_category():
    for image in sample(40):
        assert names(image.colour) <= set(CATEGORIES["color"])
        assert names(image.object) <= set(CATEGORIES["object"])
        assert names(image.parts) <= set(CATEGORIES["part"])
        assert names(image.texture) <= set(CATEGORIES["texture"])


def test_parts_are_on_the_object_they_belong_to():
    for image in sample(40):
        for plane in image.parts:
            for number in np.unique(plane[plane > 0]):
                for owner in names(image.object[plane == number]):
                    assert WORDS[number - 1] in OBJECTS[owner].parts


def test_the_part_below_a_detail_stays_annotated():
    image = render_image(5, 3, ImageRequest(kind="house", smaller_objects=()))
    pairs = {
        (WORDS[a - 1], WORDS[b - 1]) for a, b in zip(*image.parts[:2].reshape(2, -1), strict=True) if b
    }
    assert {("door", "wall"), ("window", "wall")} <= pairs


def test_the_main_object_is_larger_than_the_others():
    areas = []
    for image in sample(40):
        main, *others = (
            (image.object == NUMBER[kind]).mean()
            for kind in dict.fromkeys([image.spec.main.kind, *(t.kind for t in image.spec.objects[:-1])])
        )
        areas.append((main, max(others, default=0)))
    assert np.mean([main > 2 * other for main, other in areas]) > 0.9
    assert min(main for main, _ in areas) > 0.02


def test_every_class_occurs_in_every_scene():
    pairs = {(spec.main.kind, spec.scene) for spec in (spec_of(0, i) for i in range(1200))}
    assert len(pairs) == len(OBJECTS) * len(SCENES)


def test_a_caption_names_class_colour_texture_and_scene():
    for index in range(50):
        spec = spec_of(0, index)
        text = caption(spec)
        assert spec.main.kind in text
        assert spec.main.colour in text
        assert SCENES[spec.scene].phrase in text
        assert spec.main.texture is None or spec.main.texture in text
        assert text == caption(spec_of(0, index))


def test_a_request_is_satisfied():
    request = ImageRequest("sea", "boat", "red", "striped", {"sail": "white"}, (("tree", "green"),))
    spec = sample_spec(np.random.default_rng(0), request)
    assert (spec.scene, spec.main.kind, spec.main.colour, spec.main.texture) == (
        "sea",
        "boat",
        "red",
        "striped",
    )
    assert spec.main.part_colours["sail"] == "white"
    assert [(thing.kind, thing.colour) for thing in spec.objects[:-1]] == [("tree", "green")]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=7),
)
def test_polygons_are_filled_by_the_even_odd_rule(corners):
    points = np.round(np.array(corners) * 16) / 16
    area, inside = rasterise(points, 20)
    full = np.zeros((20, 20), bool)
    full[area] = inside
    expected = np.array([[even_odd(points, x + 0.5, y + 0.5) for x in range(20)] for y in range(20)])
    assert (full == expected).all()


def even_odd(points, x, y):
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return crossings % 2 == 1


def test_a_polygon_outside_the_canvas_paints_nothing():
    for points in (box(-3, -3, -2, -2), box(2, 0, 3, 1), ellipse(0.5, 4, 0.2, 0.2)):
        _, inside = rasterise(points * 192, 192)
        assert not inside.any()


def test_covered_shapes_are_no_longer_annotated():
    canvas, rng = Canvas(), np.random.default_rng(0)
    canvas.fill(
        box(0, 0, 1, 1),
        mix("red", rng, Texture("striped", 9, 0, (0, 0)), mix("blue", rng)),
        "car",
        "body",
    )
    canvas.fill(box(0, 0, 1, 1), mix("white", rng), "sky")
    colour, thing, texture, parts = canvas.labels()
    assert names(colour) == {"white"}
    assert names(thing) == {"sky"}
    assert not texture.any()
    assert not parts.any()


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_shows_both_of_its_colours(texture):
    y, x = np.mgrid[:96, :96] + 0.5
    share = Texture(texture, 18, 0.3, (0.1, 0.7))(x, y).mean()
    assert 0.2 < share < 0.6
