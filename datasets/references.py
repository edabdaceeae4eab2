"""References: the true texts of the units of a layer, from class names and files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..harness.errors import InputError
from ..harness.files import fingerprint
from .class_names import IMAGENET_WEIGHTS, read_class_names, weights_classes
from .probing_set import ProbingSet

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class References:
    """The true texts of the units of a layer.

    Attributes:
        name: name in records and tables.
        texts: for each unit, in order, its true texts; empty where none is known. A metric uses the
            one that scores best.
    """

    name: str
    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for unit, texts in enumerate(self.texts):
            # A string is a sequence of strings too: each letter would count as a text.
            if isinstance(texts, str):
                raise TypeError(f"the texts of unit {unit} must be a tuple, not the string {texts!r}")
            if not all(text.strip() for text in texts):
                raise ValueError(f"unit {unit} has an empty text: {texts!r}")

    def __len__(self) -> int:
        return len(self.texts)

    def fingerprint(self) -> str:
        """Hash of the texts."""
        return fingerprint(self.texts)


def imagenet(alternatives: bool = False, file: str | os.PathLike[str] | None = None) -> References:
    """Returns the 1,000 classes of ImageNet.

    Args:
        alternatives: whether each synonym is a text of its own; otherwise the whole line is one text.
        file: a label file with one line per class, such as "tench, Tinca tinca", with or without a
            leading WordNet id. Default: torchvision's names, one short name per class.

    Raises:
        InputError: if the file cannot be read or does not list 1,000 classes in their order.
    """
    if file is None:
        return from_list(weights_classes(IMAGENET_WEIGHTS), "imagenet")
    references = from_file(file, alternatives, "imagenet")
    if len(references) != IMAGENET_CLASSES:
        raise InputError(f"{file} lists {len(references)} classes; ImageNet has {IMAGENET_CLASSES}")
    return references


def from_file(
    path: str | os.PathLike[str], alternatives: bool = False, name: str | None = None
) -> References:
    """Reads one line per class, in the order of the units.

    Args:
        path: a UTF-8 text file, see `read_class_names`.
        alternatives: whether the parts between commas are separate texts.
        name: name of the references; default: the name of the file.

    Raises:
        InputError: if the file cannot be read or its lines are not class names in their order.
    """
    lines = read_class_names(path)
    texts = [_synonyms(line) if alternatives else (line,) for line in lines]
    return References(name or Path(path).stem, tuple(texts))


def _synonyms(line: str) -> tuple[str, ...]:
    parts = dict.fromkeys(part.strip() for part in line.split(","))
    return tuple(part for part in parts if part) or (line,)


def from_list(names: Sequence[str | Sequence[str]], name: str = "list") -> References:
    """Makes references from a list with one entry per unit: its name, or a list of its names.

    Raises:
        InputError: if the list or one of its entries is empty.
        TypeError: if `names` is a string.
    """
    if isinstance(names, str):
        raise TypeError(f"names must be a list, not the string {names!r}")
    texts = tuple((entry,) if isinstance(entry, str) else tuple(entry) for entry in names)
    if not texts:
        raise InputError(f"the references {name!r} are empty")
    for unit, entry in enumerate(texts):
        if not entry or not all(isinstance(text, str) and text.strip() for text in entry):
            raise InputError(f"the references {name!r} have no text for unit {unit}: {list(entry)}")
    return References(name, texts)


def of_probe(probe: ProbingSet) -> References:
    """Returns the class names of a probing set, with spaces for underscores.

    Raises:
        InputError: if it has no classes.
    """
    if probe.classes is None:
        raise InputError(
            f"the probing set {probe.name} has no classes",
            "use references=file with one class name per line",
        )
    return from_list([name.replace("_", " ") for name in probe.classes], probe.name)
