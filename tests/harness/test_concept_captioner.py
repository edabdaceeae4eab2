"""Captions from a concept set."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation.concept_captioner import ConceptCaptioner
from dissectbench.harness.foundation.protocols import Captioner


class Words:
    name = "three words"
    words = ("red", "green", "blue")


class Colours:
    """Embeds an image as its mean colour, and a word as the colour that it names."""

    name = "colours"

    def fingerprint(self) -> str:
        return "colours"

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        rows = np.stack([np.asarray(image, np.float32).mean((0, 1)) for image in images])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([np.eye(3, dtype=np.float32)[Words.words.index(t.split()[-1])] for t in texts])


def test_the_nearest_concept_is_the_caption() -> None:
    captioner = ConceptCaptioner(Colours(), Words(), template="a patch of {}")  # pyright: ignore
    images = [Image.new("RGB", (4, 4), colour) for colour in ("blue", "red", "lime", "red")]
    assert isinstance(captioner, Captioner)
    assert captioner.caption(images) == ["blue", "red", "green", "red"]
    plain = ConceptCaptioner(Colours(), Words())  # pyright: ignore
    assert plain.fingerprint() != captioner.fingerprint()


def test_a_template_without_a_place_and_an_empty_concept_set_are_refused() -> None:
    with pytest.raises(InputError, match="template"):
        ConceptCaptioner(Colours(), Words(), template="no place")  # pyright: ignore
    empty = type("Empty", (), {"name": "none", "words": ()})()
    with pytest.raises(InputError, match="no concepts"):
        ConceptCaptioner(Colours(), empty)  # pyright: ignore
