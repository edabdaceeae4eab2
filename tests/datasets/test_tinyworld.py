"""The embedded world: its words, its pictures and what is annotated in them."""

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

# SHA-256 over pixels and label planes. If one changes on purpose, raise disk.FORMAT and train again.
DIGESTS = {
    (0, 0): "a95ab11b5e69b163",
    (0, 7): "7a27dbac7a6e8664",
    (1, 123): "6e3797ddc1160ff6",
}


def digest(seed, index):
    shown = render_image(seed, index)
    total = hashlib.sha256()
    for array in (shown.pixels, shown.colour, shown.object, shown.texture, shown.parts):
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


def test_the_eleven_basic_colours_are_there():
    assert sorted(COLOURS) == sorted(
        ["black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow"]
    )


def test_the_other_words_are_ordinary_and_not_the_worlds():
    others = other_words()
    assert 300 < len(others) == len(set(others))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in others)
    assert not set(others) & {*WORDS, *SYNONYMS}


def test_every_object_scene_and_texture_can_be_drawn():
    assert set(DRAWINGS) == set(OBJECTS)
    assert set(PAINTERS) == set(SCENES)
    assert set(PATTERNS) == set(TEXTURES)
    for kind in OBJECTS:
        shown = render_image(5, 0, ImageRequest(kind=kind, smaller_objects=()))
        assert names(shown.parts) == set(OBJECTS[kind].parts), kind
    for scene, setting in SCENES.items():
        seen = set().union(*(names(shown.object) for shown in sample(8, scene=scene)))
        assert set(setting.backdrop) <= seen <= {*setting.backdrop, *OBJECTS}, scene


@pytest.mark.parametrize("key", DIGESTS)
def test_pictures_and_masks_are_the_same_everywhere(key):
    assert digest(*key) == DIGESTS[key]


def test_a_picture_does_not_depend_on_the_process_or_on_what_was_rendered_before():
    code = (
        "import hashlib, numpy as np\n"
        "from dissectbench.datasets.tinyworld.rendering import render_image\n"
        "np.random.seed(3); np.random.rand(7)\n"
        "print(hashlib.sha256(render_image(0, 7).pixels.tobytes()).hexdigest())"
    )
    render_image(0, 8)
    here = hashlib.sha256(render_image(0, 7).pixels.tobytes()).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_different_pictures_and_worlds_differ():
    digests = {digest(seed, index) for seed in (0, 1) for index in range(4)}
    assert len(digests) == 8


def test_a_pixel_labelled_with_a_colour_has_that_colour():
    """The median colour under each label is nearest to a shade of that name; light may fool a few."""
    shades = [(name, np.array(rgb)) for name, rgbs in COLOURS.items() for rgb in rgbs]
    right = []
    for shown in sample(40):
        half = shown.pixels.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
        for name in names(shown.colour):
            mask = shown.colour == NUMBER[name]
            if mask.sum() < 60:
                continue
            mean = np.median(half[mask], axis=0)
            nearest = min(shades, key=lambda shade: float(np.sum((shade[1] - mean) ** 2)))
            right.append(nearest[0] == name)
    assert np.mean(right) > 0.97


def test_every_pixel_has_a_colour_and_an_object():
    for shown in sample(40):
        assert (shown.colour > 0).all()
        assert (shown.object > 0).all()


def test_planes_hold_words_of_their_own_category():
    for shown in sample(40):
        assert names(shown.colour) <= set(CATEGORIES["color"])
        assert names(shown.object) <= set(CATEGORIES["object"])
        assert names(shown.parts) <= set(CATEGORIES["part"])
        assert names(shown.texture) <= set(CATEGORIES["texture"])


def test_parts_lie_on_the_object_they_belong_to():
    for shown in sample(40):
        for plane in shown.parts:
            for number in np.unique(plane[plane > 0]):
                for owner in names(shown.object[plane == number]):
                    assert WORDS[number - 1] in OBJECTS[owner].parts


def test_a_detail_keeps_the_part_beneath_it_annotated():
    shown = render_image(5, 3, ImageRequest(kind="house", smaller_objects=()))
    upon = {
        (WORDS[a - 1], WORDS[b - 1]) for a, b in zip(*shown.parts[:2].reshape(2, -1), strict=True) if b
    }
    assert {("door", "wall"), ("window", "wall")} <= upon


def test_the_main_object_is_large_and_the_others_are_not():
    areas = []
    for shown in sample(40):
        main, *others = (
            (shown.object == NUMBER[kind]).mean()
            for kind in dict.fromkeys([shown.spec.main.kind, *(t.kind for t in shown.spec.objects[:-1])])
        )
        areas.append((main, max(others, default=0)))
    assert np.mean([main > 2 * other for main, other in areas]) > 0.9
    assert min(main for main, _ in areas) > 0.02


def test_scene_and_class_are_independent_enough():
    """No class can be told from its scene: every class occurs in every scene."""
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


def test_a_wish_is_granted():
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
def test_the_inside_of_a_polygon_is_what_the_even_odd_rule_says(corners):
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


def test_what_is_covered_is_no_longer_annotated():
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
