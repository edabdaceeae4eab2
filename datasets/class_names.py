"""Names of classes: from text files and from the weights enums of torchvision."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..harness.errors import InputError, nearest
from .text_files import read_lines

# One of many: all ImageNet weights of torchvision that list class names list the same 1,000.
IMAGENET_WEIGHTS = "ResNet50_Weights.IMAGENET1K_V2"

_SYNSET = re.compile(r"n\d{8}\s+")
_ENUM = re.compile(r"\w+_Weights\.\w+")


def read_class_names(path: str | os.PathLike[str]) -> list[str]:
    """Reads one class per line; a WordNet id (n01440764) that starts every line is removed.

    Raises:
        InputError: if the file cannot be read, is empty, has a blank line between others, or its
            lines are not in the order of their WordNet ids.
    """
    lines = read_lines(path)
    # Blank lines at the end are harmless; one between names would shift the classes after it.
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{path} is empty", "write one class per line, in the order of the units")
    if "" in lines:
        raise InputError(
            f"{path}, line {lines.index('') + 1}: blank line",
            "the line number is the class number: write the name of the class, or remove the line",
        )
    if not all(_SYNSET.match(line) for line in lines):
        return lines
    _check_order(lines, path)
    return [_SYNSET.sub("", line, count=1) for line in lines]


def _check_order(lines: list[str], path: str | os.PathLike[str]) -> None:
    # Networks number ImageNet's classes in the order of the WordNet ids. The list of its development kit
    # has another order and would give every unit the name of another class.
    for number, (before, after) in enumerate(pairwise(lines), 2):
        if before[:9] >= after[:9]:
            raise InputError(
                f"{path}, line {number}: {after[:9]} does not follow {before[:9]}",
                "sort the lines: classes are numbered in the order of their WordNet ids",
            )


def weights_classes(weights: str) -> tuple[str, ...]:
    """Returns the class names of a weights enum of torchvision; nothing is downloaded.

    Args:
        weights: such as "ResNet50_Weights.IMAGENET1K_V2".

    Raises:
        InputError: if the enum does not exist or has no class names.
    """
    from torchvision.models import get_model_weights, get_weight, list_models

    try:
        return tuple(get_weight(weights).meta["categories"])
    except (ValueError, KeyError):
        known = (str(entry) for model in list_models() for entry in get_model_weights(model))
        raise InputError(
            f"torchvision has no class names for the weights {weights!r}",
            nearest(weights, known) or f"write <enum>.<entry>, such as {IMAGENET_WEIGHTS}",
        ) from None


def names_of_folders(
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
        source = weights_classes(source) if _ENUM.fullmatch(source) else read_class_names(source)
    if len(source) != len(folders):
        raise InputError(
            f"class_names has {len(source)} names, but there are {len(folders)} class folders",
            "give one name per folder, in their order, or a mapping from folder to name",
        )
    return tuple(str(name) for name in source)
