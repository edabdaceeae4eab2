"""Finds the units whose descriptions, or whose values, are most alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .sentences import Sentences

if TYPE_CHECKING:
    from ...harness.probe import ProbedLayer
    from .units import UnitReport

NEAREST = 3
"""Units listed by description of each method, and by correlation in other layers."""

SAME_LAYER = 5
"""Units of the same layer listed by correlation."""

_ROWS = 512  # units compared with all others at once
_IMAGES = 4096  # images whose values are in memory at once
_DECIMALS = 3
"""Of cosines and correlations, so that the order does not depend on the last bits of a matrix product."""


@dataclass(frozen=True)
class Neighbour:
    """A unit that is like another one.

    Attributes:
        layer: its layer.
        index: its index.
        likeness: cosine of the descriptions, or correlation of the values.
        text: its description by the method; "" for a correlation.
    """

    layer: str
    index: int
    likeness: float
    text: str = ""

    @property
    def key(self) -> str:
        """Address of the unit in the page."""
        return f"{self.layer}/{self.index}"


def nearest_descriptions(
    units: Sequence[UnitReport], sentences: Sentences
) -> dict[tuple[str, str], tuple[Neighbour, ...]]:
    """Returns the units that a method describes most alike, by the address of a unit and the method."""
    found: dict[tuple[str, str], tuple[Neighbour, ...]] = {}
    methods = dict.fromkeys(d.method for unit in units for d in unit.descriptions)
    for method in methods if sentences.encoder else ():
        described = [
            (unit, d.text)
            for unit in units
            for d in unit.descriptions
            if d.method == method and d.text is not None
        ]
        vectors = sentences.of_texts([text for _, text in described])
        for start in range(0, len(described), _ROWS):
            cosines = vectors[start : start + _ROWS] @ vectors.T
            for row, others in enumerate(_highest(cosines, NEAREST, start), start):
                near = ((*described[other], cosine) for other, cosine in others)
                found[described[row][0].key, method] = tuple(
                    Neighbour(unit.layer, unit.index, cosine, text) for unit, text, cosine in near
                )
    return found


def correlated_units(
    layers: Mapping[str, ProbedLayer], units: Mapping[str, Sequence[int]]
) -> dict[tuple[str, int], tuple[Neighbour, ...]]:
    """Returns the units whose values over the probing set have the highest Pearson correlation.

    Args:
        layers: the layers by name.
        units: the units of each layer that are compared; those without variation are left out.

    Returns:
        By layer and unit: the units of the same layer, followed by those of other layers that were shown
        the same images; only units with a positive correlation.
    """
    values = {name: _Values(layer, units[name]) for name, layer in layers.items()}
    same: dict[tuple[str, int], tuple[Neighbour, ...]] = {}
    other: dict[tuple[str, int], list[Neighbour]] = {}
    names = list(layers)
    for number, first in enumerate(names):
        for second in names[number:]:
            if values[first].images != values[second].images:
                continue
            correlations = _correlations(values[first], values[second])
            if first == second:
                for unit, near in _neighbours(values[first], values[first], correlations, SAME_LAYER):
                    same[first, unit] = near
                continue
            for one, two, matrix in (
                (first, second, correlations),
                (second, first, correlations.T),
            ):
                for unit, near in _neighbours(values[one], values[two], matrix, NEAREST):
                    other.setdefault((one, unit), []).extend(near)
    return {
        (name, unit): (
            *same[name, unit],
            # Stable: equal correlations in the order of the layers.
            *sorted(other.get((name, unit), ()), key=lambda near: -near.likeness)[:NEAREST],
        )
        for name in names
        for unit in values[name].units
    }


class _Values:
    """The values of some units of a layer, standardised image by image.

    Attributes:
        name: name of the layer.
        images: identifies the images and their number.
        units: the units that are not dead.
    """

    def __init__(self, layer: ProbedLayer, units: Sequence[int]) -> None:
        self.name = layer.name
        self.images = (len(layer.values), layer.probe.fingerprint())
        self._values = layer.values
        chosen = np.asarray([unit for unit in units if not layer.dead[unit]], np.int64)
        count = len(layer.values)
        total = np.zeros(len(chosen))
        for start in range(0, count, _IMAGES):
            total += layer.values[start : start + _IMAGES][:, chosen].sum(axis=0, dtype=np.float64)
        mean = total / count
        squares = np.zeros(len(chosen))
        for start in range(0, count, _IMAGES):
            squares += np.square(layer.values[start : start + _IMAGES][:, chosen] - mean).sum(axis=0)
        with np.errstate(invalid="ignore"):
            varies = np.isfinite(squares) & (squares > 0)
        self._columns, self._mean = chosen[varies], mean[varies]
        self._norm = np.sqrt(squares[varies])
        self.units: list[int] = self._columns.tolist()

    def block(self, start: int) -> NDArray[np.float32]:
        """Returns float32 [images, units] of some images; all blocks together have unit norm."""
        block = self._values[start : start + _IMAGES][:, self._columns]
        return ((block - self._mean) / self._norm).astype(np.float32)


def _correlations(first: _Values, second: _Values) -> NDArray[np.float32]:
    """Returns float32 [units of the first, units of the second]."""
    total = np.zeros((len(first.units), len(second.units)), np.float32)
    for start in range(0, first.images[0], _IMAGES):
        total += first.block(start).T @ second.block(start)
    return total


def _neighbours(
    of: _Values, among: _Values, correlations: NDArray[np.float32], count: int
) -> list[tuple[int, tuple[Neighbour, ...]]]:
    found = []
    for start in range(0, len(of.units), _ROWS):
        own = start if of is among else None
        rows = _highest(correlations[start : start + _ROWS], count, own)
        for unit, others in zip(of.units[start : start + _ROWS], rows, strict=True):
            near = (
                Neighbour(among.name, among.units[other], value) for other, value in others if value > 0
            )
            found.append((unit, tuple(near)))
    return found


def _highest(likeness: NDArray[np.float32], count: int, own: int | None) -> list[list[tuple[int, float]]]:
    """Returns the columns with the highest numbers of each row, ties by column.

    Args:
        likeness: float32 [rows, columns], from -1 to 1.
        count: number of columns to return.
        own: the column of the first row, which is left out, as is the next one for the next row; None: no
            column is left out.
    """
    columns = likeness.shape[1]
    rounded = np.rint(likeness * 10**_DECIMALS).astype(np.int64)
    # Distinct keys: the highest ones are the same however they are found.
    keys = rounded * columns - np.arange(columns)
    if own is not None:
        rows = np.arange(len(keys))
        keys[rows, own + rows] = np.iinfo(np.int64).min + 1  # can be negated
    count = min(count, columns - (own is not None))
    if count <= 0:
        return [[] for _ in keys]
    highest = np.argpartition(-keys, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(keys, highest, axis=1), axis=1)
    highest = np.take_along_axis(highest, order, axis=1)
    numbers = np.take_along_axis(rounded, highest, axis=1) / 10**_DECIMALS
    return [
        list(zip(columns_of, numbers_of, strict=True))
        for columns_of, numbers_of in zip(highest.tolist(), numbers.tolist(), strict=True)
    ]
