"""Selects the units of a layer that a run describes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import InputError


def select_units(units: str | int | Sequence[int], layer: str, n_units: int, seed: int) -> list[int]:
    """Returns the selected unit indices in ascending order; they are the same for every method.

    Args:
        units: "all"; a number for a seeded random sample of that size (all units of a smaller layer);
            or a list of indices, 0-based.
        layer: name of the layer, for messages and to sample layers independently.
        n_units: number of units of the layer.
        seed: of the sample.

    Raises:
        InputError: if `units` is none of these, or an index is outside the layer.
    """
    if units == "all":
        return list(range(n_units))
    if isinstance(units, int):
        if units < 1 or isinstance(units, bool):
            raise InputError(
                f"units={units} selects no units", "use a number of at least 1, a list or `all`"
            )
        # The name is part of the seed: layers of equal size would otherwise share their sample.
        generator = np.random.default_rng([seed, *layer.encode()])
        # The start of a permutation, so that a larger sample contains every smaller one.
        return sorted(generator.permutation(n_units)[:units].tolist())
    if isinstance(units, str) or not all(type(unit) is int for unit in units) or not units:
        raise InputError(f"units={units} is not valid", "use units=all, units=50 or units=[3,17]")
    outside = [unit for unit in units if not 0 <= unit < n_units]
    if outside:
        raise InputError(
            f"units={list(units)}: layer {layer} has units 0 to {n_units - 1}, not {outside[0]}",
            "units are counted from 0",
        )
    return sorted(set(units))
