"""The top images of a unit: exemplars and crops of them with the strongest responses (step 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

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


def top_images(
    layer: ProbedLayer, units: Sequence[int], count: int, cropping: Cropping
) -> dict[int, tuple[TopImage, ...]]:
    """Shows the target the exemplars of `units` and their crops, and sorts them by each unit's response.

    The layer's maps are read once, every image is decoded once, and an image or crop that several units
    share is shown once. Ties: whole images before crops, in the order of the exemplars.

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
    # One call for all units: the target gets large batches, and each image once.
    distinct = {top.key: top.image for of_unit in by_unit.values() for top in of_unit}
    responses = layer.respond([image for image in distinct.values() if image is not None])
    rows = {key: row for row, key in enumerate(distinct)}
    return {
        unit: _sorted(of_unit, responses[[rows[top.key] for top in of_unit], unit].tolist(), count)
        for unit, of_unit in by_unit.items()
    }


def _exemplars_and_crops(
    layer: ProbedLayer, exemplars: Mapping[int, Sequence[int]], cropping: Cropping
) -> dict[int, list[TopImage]]:
    """Returns each unit's exemplars, then the crops of each of them."""
    units_of: dict[int, list[int]] = {}
    for unit, indices in exemplars.items():
        for index in indices:
            units_of.setdefault(index, []).append(unit)
    crops_of: dict[tuple[int, int], list[TopImage]] = {}
    if cropping == "off" or layer.map_shape == (1, 1):
        images = {index: layer.probe.image(index) for index in sorted(units_of)}
    else:
        variant: Variant = "official" if cropping == "official" else "paper"
        images, crops_of = _cropped(layer, units_of, variant)
    if cropping == "official":  # the published program resizes whole images, too
        images = {index: image.resize(GRID) for index, image in images.items()}
    return {
        unit: [TopImage(index, None, image=images[index]) for index in indices]
        + [crop for index in indices for crop in crops_of.get((unit, index), ())]
        for unit, indices in exemplars.items()
    }


def _cropped(
    layer: ProbedLayer, units_of: Mapping[int, Sequence[int]], variant: Variant
) -> tuple[dict[int, Image], dict[tuple[int, int], list[TopImage]]]:
    """Returns images by index, and crops by (unit, image index), for the units of each image."""
    images: dict[int, Image] = {}
    crops_of: dict[tuple[int, int], list[TopImage]] = {}
    for batch in layer.maps(sorted(units_of)):  # in the order in which maps are stored
        for index, maps in zip(batch.indices.tolist(), batch.maps, strict=True):
            images[index] = image = layer.probe.image(index)
            region = layer.region(index)
            for unit in units_of[index]:
                parts = crops(image, maps[unit], region, variant=variant)
                crops_of[unit, index] = [TopImage(index, part.box, image=part.image) for part in parts]
    return images, crops_of


def _sorted(images: Sequence[TopImage], responses: Sequence[float], count: int) -> tuple[TopImage, ...]:
    """Sorts by response; only the first `count` keep their pixels."""
    if not np.isfinite(responses).all():
        raise ValueError("the target's response to the unit's top images is not finite")
    order = np.argsort(-np.asarray(responses), kind="stable").tolist()
    return tuple(
        TopImage(images[i].index, images[i].box, responses[i], images[i].image if n < count else None)
        for n, i in enumerate(order)
    )
