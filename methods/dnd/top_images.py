"""The top images of a unit: exemplars and crops of them with the strongest responses (step 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...harness.activations.exemplar_maps import exemplar_consumers, read_exemplar_maps
from ...harness.activations.map_pass import MapConsumer
from ...harness.probe import ProbedLayer
from .crops import GRID, Variant, crops
from .parsing import shortened

if TYPE_CHECKING:
    from PIL.Image import Image

Cropping = Literal["attention", "official", "off"]
Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class TopImage:
    """An image of the probing set, or a crop of one, that was shown to the target.

    Attributes:
        index: index of the image in the probing set.
        box: (left, top, right, bottom) of the crop in fractions of the image; None for the whole image.
        response: the unit's response; NaN before it is known.
        image: the image or crop itself; None where it is no longer needed.
        caption: its caption; None where it was not captioned.
    """

    index: int
    box: Box | None
    response: float = float("nan")
    image: Image | None = field(default=None, compare=False, repr=False)
    caption: str | None = None

    @property
    def key(self) -> tuple[int, Box | None]:
        """Identifies the pixels: equal keys are the same crop of the same image."""
        return self.index, self.box

    def evidence(self) -> dict[str, Any]:
        """Returns the part that is stored in a record."""
        box = None if self.box is None else list(self.box)
        evidence = {"image": self.index, "box": box, "response": self.response}
        return evidence if self.caption is None else {**evidence, "caption": shortened(self.caption)}


def map_consumers(
    layer: ProbedLayer, units: Sequence[int], count: int, cropping: Cropping
) -> Sequence[MapConsumer]:
    """Returns what gathers the maps that `top_images` needs for crops and does not find in the cache."""
    finite = np.atleast_1d(np.isfinite(layer.values[:, list(units)]).all(axis=0))
    alive = [unit for unit, fine in zip(units, finite, strict=True) if fine and not layer.dead[unit]]
    if cropping == "off" or not alive:
        return ()
    exemplars = {unit: layer.exemplars(unit, count).indices.tolist() for unit in alive}
    return exemplar_consumers(layer, *_as_matrix(exemplars))


def top_images(
    layer: ProbedLayer, units: Sequence[int], count: int, cropping: Cropping
) -> dict[int, tuple[TopImage, ...]]:
    """Sorts the exemplars of `units` and crops of them by each unit's response.

    Every image is decoded once, and an image that several units share is shown to the target once. Whole
    images are not shown again: their responses are the layer's values. The exception is the official
    cropping, which resizes them. Ties: whole images before crops, in the order of the exemplars.

    Args:
        layer: the layer; vector layers have no crops.
        units: the units.
        count: exemplars per unit, and number of the sorted images whose pixels are kept.
        cropping: "attention", "official" (see `crops`), or "off".

    Returns:
        For each unit all images and crops, in descending order of the response; the first `count` have
        their `image`.

    Raises:
        ValueError: if a value, a map or a response of one of the units is not finite.
    """
    # Checked first: NaN has no place in the order of the exemplars.
    for unit in units:
        if not np.isfinite(layer.values[:, unit]).all():
            raise ValueError("its activations are not all finite")
    exemplars = {unit: layer.exemplars(unit, count).indices.tolist() for unit in units}
    by_unit = _exemplars_and_crops(layer, exemplars, cropping)
    responses = _responses(layer, by_unit, resized=cropping == "official")
    return {unit: _sorted(of_unit, responses[unit], count) for unit, of_unit in by_unit.items()}


def _responses(
    layer: ProbedLayer, by_unit: Mapping[int, Sequence[TopImage]], *, resized: bool
) -> dict[int, list[float]]:
    """Returns the responses of each unit to its images and crops.

    Args:
        layer: the layer.
        by_unit: images and crops by unit.
        resized: whether whole images are not as the first pass showed them.
    """
    # One call for all units: the target gets large batches, and each crop once.
    new = {
        top.key: top.image
        for of_unit in by_unit.values()
        for top in of_unit
        if resized or top.box is not None
    }
    images = [image for image in new.values() if image is not None]
    responses = layer.respond(images) if images else layer.values[:0]
    rows = {key: row for row, key in enumerate(new)}
    return {
        unit: [
            float(responses[rows[top.key], unit] if top.key in rows else layer.values[top.index, unit])
            for top in of_unit
        ]
        for unit, of_unit in by_unit.items()
    }


def _exemplars_and_crops(
    layer: ProbedLayer, exemplars: Mapping[int, Sequence[int]], cropping: Cropping
) -> dict[int, list[TopImage]]:
    """Returns each unit's exemplars, then the crops of each of them."""
    crops_of: dict[tuple[int, int], list[TopImage]] = {}
    if cropping == "off" or layer.map_shape == (1, 1):
        distinct = sorted({index for indices in exemplars.values() for index in indices})
        images = {index: layer.probe.image(index) for index in distinct}
    else:
        variant: Variant = "official" if cropping == "official" else "paper"
        images, crops_of = _cropped(layer, exemplars, variant)
    if cropping == "official":  # the published program resizes whole images, too
        images = {index: image.resize(GRID) for index, image in images.items()}
    return {
        unit: [TopImage(index, None, image=images[index]) for index in indices]
        + [crop for index in indices for crop in crops_of.get((unit, index), ())]
        for unit, indices in exemplars.items()
    }


def _cropped(
    layer: ProbedLayer, exemplars: Mapping[int, Sequence[int]], variant: Variant
) -> tuple[dict[int, Image], dict[tuple[int, int], list[TopImage]]]:
    """Returns images by index, and crops by (unit, image index)."""
    images: dict[int, Image] = {}
    crops_of: dict[tuple[int, int], list[TopImage]] = {}
    units, indices = _as_matrix(exemplars)
    for index, positions, maps in read_exemplar_maps(layer, units, indices):
        images[index] = image = layer.probe.image(index)
        region = layer.region(index)
        for row, unit_map in zip((positions // indices.shape[1]).tolist(), maps, strict=True):
            parts = crops(image, unit_map, region, variant=variant)
            crops_of[units[row], index] = [TopImage(index, p.box, image=p.image) for p in parts]
    return images, crops_of


def _as_matrix(exemplars: Mapping[int, Sequence[int]]) -> tuple[list[int], NDArray[np.int64]]:
    """Returns the units, and their exemplars [units, count]: every unit has equally many."""
    if not exemplars:
        return [], np.empty((0, 0), np.int64)
    return list(exemplars), np.array(list(exemplars.values()), np.int64)


def _sorted(images: Sequence[TopImage], responses: Sequence[float], count: int) -> tuple[TopImage, ...]:
    """Sorts by response; only the first `count` keep their pixels."""
    if not np.isfinite(responses).all():
        raise ValueError("the target's response to the unit's top images is not finite")
    order = np.argsort(-np.asarray(responses), kind="stable").tolist()
    return tuple(
        TopImage(images[i].index, images[i].box, responses[i], images[i].image if n < count else None)
        for n, i in enumerate(order)
    )
