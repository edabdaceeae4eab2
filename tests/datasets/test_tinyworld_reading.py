"""Pictures from words."""

import numpy as np
import pytest

from dissectbench.datasets import tinyworld
from dissectbench.datasets.tinyworld.captions import caption
from dissectbench.datasets.tinyworld.reading import read, vocabulary_of
from dissectbench.datasets.tinyworld.rendering import picture, specification
from dissectbench.datasets.tinyworld.spec import Wish
from dissectbench.datasets.tinyworld.words import CATEGORIES, NUMBER, OBJECTS


def wish(text, seed=0):
    return read(text, np.random.default_rng(seed))


def test_a_sentence_is_understood():
    got = wish("A striped red boat with a white sail on the sea, beside a green tree.")
    assert (got.kind, got.colour, got.texture, got.scene) == ("boat", "red", "striped", "sea")
    assert got.trim == {"sail": "white"}


def test_its_own_caption_asks_for_the_same_picture():
    for index in range(200):
        spec = specification(4, index)
        got = wish(caption(spec))
        main = spec.main
        assert (got.kind, got.colour, got.texture, got.scene) == (
            main.kind,
            main.colour,
            main.texture,
            spec.scene,
        )
        if len(spec.things) > 1:
            assert got.beside == tuple((thing.kind, thing.colour) for thing in spec.things[:-1])


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
    assert vocabulary_of(text) == words


@pytest.mark.parametrize(
    "word", [w for c in ("object", "part", "scene", "texture") for w in CATEGORIES[c]]
)
def test_a_word_of_the_world_is_in_its_picture(word):
    """For the rarer things of a backdrop, in one of a few pictures."""
    assert any(shows(word, seed) for seed in range(6))


def shows(word, seed):
    shown = picture(3, seed, wish(word, seed))
    planes = (shown.object, shown.texture, *shown.parts)
    return shown.spec.scene == word or any((plane == NUMBER[word]).any() for plane in planes)


@pytest.mark.parametrize("colour", CATEGORIES["color"])
def test_a_colour_alone_is_that_of_the_main_object(colour):
    assert picture(3, 0, wish(f"something {colour}")).spec.main.colour == colour


def test_a_part_asks_for_an_object_that_has_it():
    for seed in range(10):
        kind = wish("a red wheel", seed).kind
        assert kind is not None
        assert "wheel" in OBJECTS[kind].parts
    assert wish("a red wheel").trim == {"wheel": "red"}
    assert wish("a red hull").colour == "red"


def test_an_unknown_text_leaves_everything_to_chance():
    assert wish("democracy") == Wish()
    kinds = {tuple(np.asarray(tinyworld.render("democracy", seed)).ravel()[:50]) for seed in range(4)}
    assert len(kinds) == 4


def test_the_same_text_and_seed_give_the_same_picture():
    first, again, other = (np.asarray(tinyworld.render("a sail", seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
