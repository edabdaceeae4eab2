"""Renames the tensors of a checkpoint to the names of a network.

The same architecture has other names in every code base. A rule translates them: a file of pairs, a
function, or the order of the tensors.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .import_path import call_user, import_object

if TYPE_CHECKING:
    from torch import Tensor

BY_ORDER = "by_order"
"""The rule that pairs the tensors of checkpoint and network in their order."""

# Files from before torch 0.4 have no batch counts, which only training reads.
COUNTER = "num_batches_tracked"

# Tensors of one module that may have equal shapes, so that only their names show a wrong order.
_ROLES = ("weight", "bias", "running_mean", "running_var")


def rename(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], rule: str, *, ordered: bool = True
) -> dict[str, Tensor]:
    """Returns the tensors of `state` under their new names.

    Args:
        state: tensors of the checkpoint.
        expected: tensors of the network.
        rule: `by_order`; a YAML, JSON or CSV file of pairs old name, new name; or "module:function" of
            a function from the old name to the new one. An empty new name (in a file) or None drops
            the tensor. Names that a file does not list are kept.
        ordered: whether `state` has the order in which the tensors were saved.

    Raises:
        InputError: if the rule cannot be read or applied.
    """
    if rule == BY_ORDER:
        new_names = _names_by_order(state, expected, ordered)
    elif Path(rule).expanduser().suffix in _READERS:
        new_names = _names_from_file(Path(rule).expanduser(), state)
    else:
        function = import_object(rule)
        new_names = {name: call_user(rule, function, name) for name in state}
    return _renamed(state, new_names, rule)


def pairs_by_order(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> list[tuple[str, str]] | None:
    """Returns (old name, new name) of tensors with the same position; None if they do not correspond.

    They correspond if the number of tensors and every shape agree, and no weight would become a bias.
    Batch counts are not compared, because old files have none.
    """
    old = [name for name in state if not name.endswith(COUNTER)]
    new = [name for name in expected if not name.endswith(COUNTER)]
    pairs = list(zip(old, new, strict=False))
    fit = all(state[a].shape == expected[b].shape and not _conflict(_role(a), _role(b)) for a, b in pairs)
    return pairs if fit and len(old) == len(new) else None


def suggestion(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, ordered: bool = True
) -> str | None:
    """Returns how to rename a checkpoint whose shapes fit the network; None if they do not fit."""
    pairs = pairs_by_order(state, expected) if ordered else None
    if pairs:
        examples = ", ".join(f"{old} -> {new}" for old, new in pairs[:3])
        return (
            f"only the names differ: all {len(pairs)} tensors have the network's shapes, in its order "
            f"({examples}, ...). Set rename={BY_ORDER} to load them in this order"
        )
    if _shapes(state) == _shapes(expected):
        return (
            "the shapes are those of the network, in another order: set rename= to a CSV, JSON or YAML "
            "file of old and new names, or to module:function"
        )
    return None


def _names_by_order(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], ordered: bool
) -> dict[str, str | None]:
    if not ordered:
        raise InputError(
            f"rename={BY_ORDER}: a .safetensors file sorts its tensors, so their order means nothing",
            "give a file of old and new names, or module:function",
        )
    pairs = pairs_by_order(state, expected)
    if pairs is None:
        raise InputError(
            f"rename={BY_ORDER}: the tensors of the checkpoint and of the network do not correspond: "
            f"{_first_difference(state, expected)}",
            "give a file of old and new names, or module:function",
        )
    # The batch counts of the checkpoint have no partner in `pairs`, and nothing reads them.
    return {**dict.fromkeys(state), **dict(pairs)}


def _first_difference(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    old = [name for name in state if not name.endswith(COUNTER)]
    new = [name for name in expected if not name.endswith(COUNTER)]
    for a, b in zip(old, new, strict=False):
        shapes = list(state[a].shape), list(expected[b].shape)
        if shapes[0] != shapes[1] or _conflict(_role(a), _role(b)):
            return f"{a} {shapes[0]} is at the position of {b} {shapes[1]}"
    return f"{len(old)} tensors instead of {len(new)}"


def _role(name: str) -> str | None:
    last = name.rpartition(".")[2]
    return last if last in _ROLES else None


def _conflict(old: str | None, new: str | None) -> bool:
    return None not in (old, new) and old != new


def _shapes(state: Mapping[str, Tensor]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(t.shape) for name, t in state.items() if not name.endswith(COUNTER))


def _names_from_file(path: Path, state: Mapping[str, Tensor]) -> dict[str, str | None]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"rename={path}: cannot read the file: {error}") from error
    try:
        pairs = _READERS[path.suffix](text)
    except ValueError as error:
        raise InputError(
            f"rename={path}: {error}", "write pairs of old and new name: lines `old,new`, or a mapping"
        ) from error
    unknown = [old for old in pairs if old not in state]
    if unknown:
        raise InputError(
            f"rename={path}: the checkpoint has no tensor {unknown[0]!r} ({len(unknown)} unknown names)",
            f"its names are {', '.join(list(state)[:5])}, ...",
        )
    return {name: pairs.get(name, name) for name in state}


def _read_csv(text: str) -> dict[str, str | None]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise ValueError(f"row {number} has {len(row)} columns, expected 2")
    # A header is recognised by its own words: a network has no tensor of this name.
    return {old.strip(): new.strip() or None for old, new in rows if (old, new) != ("old", "new")}


def _read_yaml(text: str) -> dict[str, str | None]:
    import yaml

    try:
        content: Any = yaml.safe_load(text)  # JSON is a subset of YAML
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"expected a mapping, found a {type(content).__name__}")
    return {str(old): None if new is None or new == "" else str(new) for old, new in content.items()}


_READERS: dict[str, Callable[[str], dict[str, str | None]]] = {
    ".csv": _read_csv,
    ".json": _read_yaml,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}


def _renamed(
    state: Mapping[str, Tensor], new_names: Mapping[str, str | None], rule: str
) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for old, new in new_names.items():
        if new is None:
            continue
        if not isinstance(new, str):
            raise InputError(
                f"rename={rule} returned {new!r} for {old!r}", "it must return a name or None"
            )
        if new in renamed:
            raise InputError(f"rename={rule} gives {origins[new]!r} and {old!r} the same name {new!r}")
        renamed[new], origins[new] = state[old], old
    return renamed
