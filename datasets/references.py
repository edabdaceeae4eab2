"""Names of classes, as the true texts of the units of a final layer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..harness.errors import InputError, nearest
from ..harness.files import fingerprint
from .probing_set import ProbingSet
from .text_files import read_lines

IMAGENET_WEIGHTS = "ResNet50_Weights.IMAGENET1K_V2"

_SYNSET = re.compile(r"n\d{8}\s+")


@dataclass(frozen=True)
class References:
    """The true texts of the units of a layer.

    Attributes:
        name: what they are called in records and tables.
        texts: for each unit, in order, its true texts; none where they are not known. A metric takes
            the best of them.
    """

    name: str
    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for unit, texts in enumerate(self.texts):
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
    """The 1,000 classes of ImageNet.

    Args:
        alternatives: whether each synonym is a text of its own; otherwise the whole line is one.
        file: a label file, one line per class, such as "tench, Tinca tinca", with or without the
            WordNet id before it. Default: the names in torchvision, one short name per class.

    Raises:
        InputError: if the file cannot be read or does not have 1,000 classes in their order.
    """
    if file is None:
        return from_list(weights_classes(IMAGENET_WEIGHTS), "imagenet")
    references = from_file(file, alternatives, "imagenet")
    if len(references) != 1000:
        raise InputError(f"{file} names {len(references)} classes; ImageNet has 1000")
    return references


def from_file(
    path: str | os.PathLike[str], alternatives: bool = False, name: str | None = None
) -> References:
    """Reads one line per class, in the order of the units.

    Args:
        path: a UTF-8 text file. A WordNet id (n01440764) that starts every line is left out.
        alternatives: whether the parts between commas are texts of their own.
        name: what the references are called; default: the name of the file.

    Raises:
        InputError: if the file cannot be read, is empty, has a blank line between others or lines
            that are not in the order of their WordNet ids.
    """
    lines = _without_synsets(_class_lines(path), path)
    texts = [_synonyms(line) if alternatives else (line,) for line in lines]
    return References(name or Path(path).stem, tuple(texts))


def _class_lines(path: str | os.PathLike[str]) -> list[str]:
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{path} is empty", "write one class per line, in the order of the units")
    if "" in lines:
        raise InputError(
            f"{path}, line {lines.index('') + 1}: blank line",
            "the line number is the number of the class: write its name, or remove the line",
        )
    return lines


def _without_synsets(lines: list[str], path: str | os.PathLike[str]) -> list[str]:
    if not all(_SYNSET.match(line) for line in lines):
        return lines
    for number, (before, after) in enumerate(pairwise(lines), 2):
        if before[:9] >= after[:9]:
            raise InputError(
                f"{path}, line {number}: {after[:9]} does not follow {before[:9]}",
                "sort the lines: classes are numbered in the order of their WordNet ids",
            )
    return [_SYNSET.sub("", line, count=1) for line in lines]


def _synonyms(line: str) -> tuple[str, ...]:
    parts = dict.fromkeys(part.strip() for part in line.split(","))
    return tuple(part for part in parts if part) or (line,)


def from_list(names: Sequence[str | Sequence[str]], name: str = "list") -> References:
    """Makes references of a list: for each unit its name, or a list of its names.

    Raises:
        InputError: if the list is empty or an entry is.
        TypeError: if a plain string stands where the list belongs.
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
    """The class names of a probing set, with spaces for underscores.

    Raises:
        InputError: if it has none.
    """
    if probe.classes is None:
        raise InputError(
            f"the probing set {probe.name} has no classes", "use references=file with a list of names"
        )
    return from_list([name.replace("_", " ") for name in probe.classes], probe.name)


def weights_classes(weights: str) -> tuple[str, ...]:
    """Returns the class names that torchvision ships with a weights enum; nothing is downloaded.

    Args:
        weights: such as "ResNet50_Weights.IMAGENET1K_V2".

    Raises:
        InputError: if there is no such enum, or it has no class names.
    """
    from torchvision.models import get_model_weights, get_weight, list_models

    try:
        return tuple(get_weight(weights).meta["categories"])
    except (ValueError, KeyError):
        known = (str(entry) for model in list_models() for entry in get_model_weights(model))
        raise InputError(
            f"torchvision has no class names for the weights {weights!r}",
            nearest(weights, known) or "give them as <enum>.<entry>, such as " + IMAGENET_WEIGHTS,
        ) from None


def class_names_of(
    source: str | Sequence[str] | Mapping[str, str], folders: Sequence[str]
) -> tuple[str, ...]:
    """Returns the names of the classes in `folders`.

    Args:
        source: a mapping from folder to name; or names in the order of the folders: a list, a weights
            enum of torchvision, or a text file with one name per line.
        folders: the class folders.

    Raises:
        InputError: if a folder gets no name.
    """
    if isinstance(source, Mapping):
        missing = [folder for folder in folders if folder not in source]
        if missing:
            raise InputError(f"class_names has no name for the folder {missing[0]!r}")
        return tuple(str(source[folder]) for folder in folders)
    if isinstance(source, str):
        is_enum = re.fullmatch(r"\w+_Weights\.\w+", source)
        source = weights_classes(source) if is_enum else [t[0] for t in from_file(source).texts]
    if len(source) != len(folders):
        raise InputError(
            f"class_names has {len(source)} names, but there are {len(folders)} class folders",
            "names follow the order of the folders; use a mapping from folder to name for some of them",
        )
    return tuple(str(name) for name in source)
