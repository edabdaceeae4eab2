"""The embedded world as a probing set, a concept set and references."""

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
# Pictures made from words are those of another world than the probing set's and the training sets'.
RENDER_SEED = 3


def cache_folder() -> Path:
    """Returns the folder of rendered worlds, in `$DISSECTBENCH_HOME` or `~/.cache/dissectbench`."""
    base = os.environ.get("DISSECTBENCH_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache" / "dissectbench") / NAME


class TinyWorld(Broden):
    """A rendered world, read from disk like any Broden, with a class and a caption for each picture.

    Args:
        root: a folder that `disk.ensure` has written.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, name=NAME)
        self.classes = tuple(OBJECTS)
        self._captions, self.labels = read_captions_and_classes(root)

    def caption(self, index: int) -> str:
        """Returns what picture `index` shows, in one English sentence."""
        return self._captions[index]


def probing_set(
    images: int = 1200, seed: int = 0, root: str | os.PathLike[str] | None = None
) -> TinyWorld:
    """Returns the embedded world's probing set; renders it on first use, in some 20 s.

    Args:
        images: how many pictures; picture i is the same whatever the number.
        seed: of the world; 0 is the probing set that the embedded networks have never seen, 1 and 2
            are those of their training and of the numbers in their model cards.
        root: the folder to render it into, or to find it in; default: one in the cache, named by the
            settings, see `home`.

    Raises:
        InputError: if a number is out of range, or `root` holds something else or cannot be written.
    """
    for setting, value, least in (("images", images, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"probe.{setting}={value} must be a whole number, at least {least}")
    folder = (
        Path(root).expanduser() if root else cache_folder() / fingerprint(manifest(images, seed))[:16]
    )
    return TinyWorld(ensure_folder(folder, images, seed))


@cache
def concepts() -> ConceptSet:
    """Returns the world's words, and a few hundred ordinary ones for what it does not show."""
    return from_words([*WORDS, *other_words()], NAME)


def other_words() -> tuple[str, ...]:
    """Returns a few hundred ordinary English nouns and adjectives for things the world does not show."""
    return tuple(filter(None, read_lines(Path(__file__).parent / "other_words.txt")))


def references() -> References:
    """Returns the true names of the final layer's units: the classes."""
    return References(NAME, tuple((name,) for name in OBJECTS))


def render(text: str, seed: int = 0) -> Image:
    """Returns a picture that shows what a text says, as far as the world has words for it.

    Args:
        text: for example "a red boat on the sea", "striped", "sail", "night"; what the text leaves
            open is left to chance.
        seed: another seed, another picture of the same; the same seed and text, the same picture.
    """
    from PIL import Image

    # The text takes part in the choice, so that two texts of one seed do not share their background.
    number = int(fingerprint([text, seed])[:12], 16)
    return Image.fromarray(
        render_image(RENDER_SEED, number, parse_request(text, np.random.default_rng(number))).pixels
    )
