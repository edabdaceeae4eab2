"""Requests for images, parsed from text."""

import numpy as np
import pytest

from dissectbench.datasets import tinyworld
from dissectbench.datasets.tinyworld.captions import caption
from dissectbench.datasets.tinyworld.image_spec import ImageRequest
from dissectbench.datasets.tinyworld.rendering import render_image, spec_of
from dissectbench.datasets.tinyworld.text_parsing import parse_request, vocabulary_words
from dissectbench.datasets.tinyworld.words import CATEGORIES, NUMBER, OBJECTS


def parsed(text, seed=0):
    return parse_request(text, np.random.default_rng(seed))


def test_a_sentence_is_parsed():
    request = parsed("A striped red boat with a white sail on the sea, beside a green tree.")
    assert (request.kind, request.colour, request.texture, request.scene) == (
        "boat",
        "red",
        "striped",
        "sea",
    )
    assert request.part_colours == {"sail": "white"}


def test_a_caption_requests_its_own_image():
    for index in range(200):
        spec = spec_of(4, index)
        request = parsed(caption(spec))
        main = spec.main
        assert (request.kind, request.colour, request.texture, request.scene) == (
            main.kind,
            main.colour,
            main.texture,
            spec.scene,
        )
        if len(spec.objects) > 1:
            assert request.smaller_objects == tuple(
                (each.kind, each.colour) for each in spec.objects[:-1]
            )


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
def test_an_image_rendered_from_a_word_shows_it(word):
    """In one of six images: some objects of a backdrop are optional."""
    assert any(shows(word, seed) for seed in range(6))


def shows(word, seed):
    image = render_image(3, seed, parsed(word, seed))
    planes = (image.object, image.texture, *image.parts)
    return image.spec.scene == word or any((plane == NUMBER[word]).any() for plane in planes)


@pytest.mark.parametrize("colour", CATEGORIES["color"])
def test_a_colour_without_a_noun_is_that_of_the_main_object(colour):
    assert render_image(3, 0, parsed(f"something {colour}")).spec.main.colour == colour


def test_a_part_requests_an_object_that_has_it():
    for seed in range(10):
        kind = parsed("a red wheel", seed).kind
        assert kind is not None
        assert "wheel" in OBJECTS[kind].parts
    assert parsed("a red wheel").part_colours == {"wheel": "red"}
    assert parsed("a red hull").colour == "red"


def test_a_text_without_known_words_requests_nothing():
    assert parsed("democracy") == ImageRequest()
    images = {tinyworld.render("democracy", seed).tobytes() for seed in range(4)}
    assert len(images) == 4


def test_equal_text_and_seed_give_equal_images():
    first, again, other = (np.asarray(tinyworld.render("a sail", seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
