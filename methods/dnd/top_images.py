"""A unit's top images, among the probing set's and the parts cut out of them (step 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ...harness.probe import ProbedLayer
from .crops import GRID, crops

if TYPE_CHECKING:
    from PIL.Image import Image

Cropping = Literal["attention", "official", "off"]
Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shown:
    """An image of the probing set, or a part of one, that the target was shown anew.

    Attributes:
        index: of the image in the probing set.
        box: (left, top, right, bottom) of the part in fractions of the image; None for all of it.
        response: of the unit; NaN until it is known.
        picture: what was shown; None where it is no longer needed.
        caption: what it shows, in words; None where nobody was asked.
    """

    index: int
    box: Box | None
    response: float = float("nan")
    picture: Image | None = field(default=None, compare=False, repr=False)
    caption: str | None = None

    @property
    def key(self) -> tuple[int, Box | None]:
        """Names the picture: equal keys show the same."""
        return self.index, self.box

    def evidence(self) -> dict[str, Any]:
        """Returns what a record keeps of it."""
        box = None if self.box is None else list(self.box)
        found = {"image": self.index, "box": box, "response": self.response}
        return found if self.caption is None else {**found, "caption": self.caption}


def top_images(
    layer: ProbedLayer, units: Sequence[int], count: int, cropping: Cropping
) -> dict[int, tuple[Shown, ...]]:
    """Shows the target the exemplars of `units` and their crops, and sorts each unit's by its response.

    The layer's maps are gone through once, every picture is decoded once, and what several units share
    is shown once. Equal responses keep whole images before crops, in the order of the exemplars.

    Args:
        layer: the layer; one without a spatial extent has no crops.
        units: which units.
        count: exemplars per unit, and how many of the sorted pictures are kept.
        cropping: "attention", "official" (see `crops`), or "off".

    Returns:
        For each unit all pictures, the strongest response first; the first `count` hold their `picture`.

    Raises:
        ValueError: if a value, a map or a response of one of the units is not finite.
    """
    for unit in units:
        if not np.isfinite(layer.values[:, unit]).all():
            raise ValueError("its activations are not all finite")
    exemplars = {unit: layer.exemplars(unit, count).indices.tolist() for unit in units}
    found = _cut(layer, exemplars, cropping)
    distinct = {shown.key: shown.picture for parts in found.values() for shown in parts}
    responses = layer.respond([picture for picture in distinct.values() if picture is not None])
    rows = {key: row for row, key in enumerate(distinct)}
    return {
        unit: _strongest(parts, responses[[rows[s.key] for s in parts], unit].tolist(), count)
        for unit, parts in found.items()
    }


def _cut(
    layer: ProbedLayer, exemplars: dict[int, list[int]], cropping: Cropping
) -> dict[int, list[Shown]]:
    """Returns each unit's exemplars, then the crops of each of them."""
    wanted: dict[int, list[int]] = {}
    for unit, indices in exemplars.items():
        for index in indices:
            wanted.setdefault(index, []).append(unit)
    pictures: dict[int, Image] = {}
    cut: dict[tuple[int, int], list[Shown]] = {}
    if cropping == "off" or layer.map_shape == (1, 1):
        pictures = {index: layer.probe.image(index) for index in sorted(wanted)}
    else:
        variant = "official" if cropping == "official" else "paper"
        for batch in layer.maps(sorted(wanted)):
            for index, maps in zip(batch.indices.tolist(), batch.maps, strict=True):
                pictures[index] = picture = layer.probe.image(index)
                for unit in wanted[index]:
                    parts = crops(picture, maps[unit], layer.region(index), variant=variant)
                    cut[unit, index] = [Shown(index, part.box, picture=part.image) for part in parts]
    if cropping == "official":
        pictures = {index: picture.resize(GRID) for index, picture in pictures.items()}
    return {
        unit: [Shown(index, None, picture=pictures[index]) for index in indices]
        + [part for index in indices for part in cut.get((unit, index), ())]
        for unit, indices in exemplars.items()
    }


def _strongest(parts: Sequence[Shown], responses: Sequence[float], count: int) -> tuple[Shown, ...]:
    if not np.isfinite(responses).all():
        raise ValueError("the target's response to the unit's top images is not finite")
    order = np.argsort(-np.asarray(responses), kind="stable").tolist()
    return tuple(
        Shown(parts[i].index, parts[i].box, responses[i], parts[i].picture if place < count else None)
        for place, i in enumerate(order)
    )
