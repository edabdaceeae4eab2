"""Pictures from words."""

import numpy as np
import pytest

from dissectbench.datasets import tinyworld
from dissectbench.datasets.tinyworld.captions import caption
from dissectbench.datasets.tinyworld.image_spec import ImageRequest
from dissectbench.datasets.tinyworld.rendering import render_image, spec_of
from dissectbench.datasets.tinyworld.text_parsing import parse_request, vocabulary_words
from dissectbench.datasets.tinyworld.words import CATEGORIES, NUMBER, OBJECTS


def request(text, seed=0):
    return parse_request(text, np.random.default_rng(seed))


def test_a_sentence_is_understood():
    got = request("A striped red boat with a white sail on the sea, beside a green tree.")
    assert (got.kind, got.colour, got.texture, got.scene) == ("boat", "red", "striped", "sea")
    assert got.part_colours == {"sail": "white"}


def test_its_own_caption_asks_for_the_same_picture():
    for index in range(200):
        spec = spec_of(4, index)
        got = request(caption(spec))
        main = spec.main
        assert (got.kind, got.colour, got.texture, got.scene) == (
            main.kind,
            main.colour,
            main.texture,
            spec.scene,
        )
        if len(spec.objects) > 1:
            assert got.smaller_objects == tuple((thing.kind, thing.colour) for thing in spec.objects[:-1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Gray planes", ["grey", "airplane"]),
        ("two ships", ["boat"]),
        ("WHEELS, stripes; spotted", ["wheel", "striped", "dotted"]),
        ("the ocean at night", ["sea", "night"]),
        ("democracy", []),
        ("", []),
    ],
)
def test_plurals_synonyms_and_case_are_resolved(text, words):
    assert vocabulary_words(text) == words


@pytest.mark.parametrize(
    "word", [w for c in ("object", "part", "scene", "texture") for w in CATEGORIES[c]]
)
def test_a_word_of_the_world_is_in_its_picture(word):
    """For the rarer things of a backdrop, in one of a few pictures."""
    assert any(shows(word, seed) for seed in range(6))


def shows(word, seed):
    shown = render_image(3, seed, request(word, seed))
    planes = (shown.object, shown.texture, *shown.parts)
    return shown.spec.scene == word or any((plane == NUMBER[word]).any() for plane in planes)


@pytest.mark.parametrize("colour", CATEGORIES["color"])
def test_a_colour_alone_is_that_of_the_main_object(colour):
    assert render_image(3, 0, request(f"something {colour}")).spec.main.colour == colour


def test_a_part_asks_for_an_object_that_has_it():
    for seed in range(10):
        kind = request("a red wheel", seed).kind
        assert kind is not None
        assert "wheel" in OBJECTS[kind].parts
    assert request("a red wheel").part_colours == {"wheel": "red"}
    assert request("a red hull").colour == "red"


def test_an_unknown_text_leaves_everything_to_chance():
    assert request("democracy") == ImageRequest()
    kinds = {tuple(np.asarray(tinyworld.render("democracy", seed)).ravel()[:50]) for seed in range(4)}
    assert len(kinds) == 4


def test_the_same_text_and_seed_give_the_same_picture():
    first, again, other = (np.asarray(tinyworld.render("a sail", seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
