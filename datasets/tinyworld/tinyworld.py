"""Tinyworld as a probing set, a concept set, references and a renderer of text."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...harness.errors import InputError
from ...harness.files import fingerprint
from ..broden import Broden
from ..concepts import ConceptSet, from_words
from ..references import References
from ..text_files import read_lines
from .rendered_folder import ensure_folder, manifest, read_captions_and_classes
from .rendering import render_image
from .text_parsing import parse_request
from .words import OBJECTS, WORDS

if TYPE_CHECKING:
    from PIL.Image import Image

NAME = "tinyworld"
# Images rendered from text use a seed of their own: seed 0 is the probing set, 1 and 2 are training sets.
RENDER_SEED = 3


def cache_folder() -> Path:
    """Returns the folder of rendered images, in `$DISSECTBENCH_HOME` or `~/.cache/dissectbench`."""
    base = os.environ.get("DISSECTBENCH_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache" / "dissectbench") / NAME


class TinyWorld(Broden):
    """Rendered images, read from disk like Broden, with a class and a caption for each image.

    Args:
        root: a folder written by `ensure_folder`.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, name=NAME)
        self.classes = tuple(OBJECTS)
        self._captions, self.labels = read_captions_and_classes(root)

    def caption(self, index: int) -> str:
        """Returns the caption of image `index`, one English sentence."""
        return self._captions[index]


def probing_set(
    images: int = 1200, seed: int = 0, root: str | os.PathLike[str] | None = None
) -> TinyWorld:
    """Returns the tinyworld probing set; renders it on first use, which takes about 20 s.

    Args:
        images: number of images; image i is the same for every number.
        seed: 0 is the probing set; 1 and 2 are the training and test images of the shipped networks.
        root: the folder to render into or to read; default: a folder in `cache_folder`, named by the
            settings.

    Raises:
        InputError: if a number is out of range, or `root` contains anything else or cannot be written.
    """
    for setting, value, least in (("images", images, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"probe.{setting} must be an integer >= {least}, got {value!r}")
    folder = (
        Path(root).expanduser() if root else cache_folder() / fingerprint(manifest(images, seed))[:16]
    )
    return TinyWorld(ensure_folder(folder, images, seed))


@cache
def concepts() -> ConceptSet:
    """Returns the vocabulary and a few hundred ordinary words for things that images do not show."""
    return from_words([*WORDS, *other_words()], NAME)


def other_words() -> tuple[str, ...]:
    """Returns a few hundred ordinary English nouns and adjectives for things that images do not show."""
    return tuple(filter(None, read_lines(Path(__file__).parent / "other_words.txt")))


def references() -> References:
    """Returns the true texts of the final layer's units: the class names."""
    return References(NAME, tuple((name,) for name in OBJECTS))


def render(text: str, seed: int = 0) -> Image:
    """Returns an image of what a text says, as far as the vocabulary covers it.

    Args:
        text: for example "a red boat on the sea", "striped", "sail", "night"; everything that the text
            does not state is random.
        seed: different seeds give different images of one text; equal seed and text, equal images.
    """
    from PIL import Image

    # The index depends on the text too, so that two texts with one seed do not share their background.
    # 48 bits of the hash: twice the index must fit into 64 bits of the generator's key.
    index = int(fingerprint([text, seed])[:12], 16)
    request = parse_request(text, np.random.default_rng(index))
    return Image.fromarray(render_image(RENDER_SEED, index, request).pixels)
