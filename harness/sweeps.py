"""Expands overrides with several values, such as seed=0,1,2, into one list of overrides per run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from .errors import InputError

# A run's default name contains these already.
_IN_DEFAULT_NAME = ("target", "probe")


@dataclass(frozen=True)
class Combination:
    """The overrides of one run of a sweep.

    Attributes:
        overrides: one value per setting.
        suffix: what distinguishes its name from those of the other runs, such as "seed=1"; "" if the
            default name does.
    """

    overrides: tuple[str, ...]
    suffix: str


def expand(overrides: Sequence[str]) -> list[Combination]:
    """Returns every combination of the values of overrides in Hydra's grammar of sweeps.

    `seed=0,1,2`, `target=choice(resnet18,resnet50)` and `seed=range(0,3)` have several values. The last
    override varies fastest.

    Raises:
        InputError: if an override cannot be read, or has no finite list of values.

    Example:
        >>> [c.suffix for c in expand(["units=5", "seed=0,1"])]
        ['seed=0', 'seed=1']
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    choices: list[list[tuple[str, str | None]]] = []  # of each override: (override, part of the suffix)
    named = any(override.startswith("name=") for override in overrides)
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise InputError(f"cannot read the setting {text!r}", "write it as key=value") from error
        key = override.key_or_group
        if not override.is_sweep_override():
            choices.append([(text, None)])
        elif key == "name" or override.is_interval_sweep():
            raise InputError(f"{text}: cannot be swept", "give a list of values, such as seed=0,1,2")
        else:
            shown = None if key in _IN_DEFAULT_NAME and not named else key.rpartition(".")[2]
            values = list(override.sweep_string_iterator())
            choices.append([(f"{key}={v}", shown and f"{shown}={_plain(v)}") for v in values])
    return [
        Combination(
            tuple(text for text, _ in chosen), "-".join(part for _, part in chosen if part is not None)
        )
        for chosen in product(*choices)
    ]


def _plain(value: str) -> str:
    """Returns a value as a part of a folder name."""
    return re.sub(r"[^\w.=-]+", "_", value).strip("_")
