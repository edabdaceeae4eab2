"""Shows where the masks of units overlap the pixels of their best labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ImageAnnotation
from ...harness.activations.exemplar_maps import read_exemplar_maps
from ...harness.illustrations import Box, EvidenceImage, Illustration, Mask
from ...harness.probe import ProbedLayer, Region, strongest_images
from ...harness.records import Description
from ..upsample import Upsampling, grid, upsample
from .labelled_images import labels_of, words
from .tally_pass import round_down

IMAGES = 24
"""Number of images, those with the unit's highest maxima, that are searched for overlaps."""
OF_BEST, OF_OTHERS = 4, 2
"""Number of images that are shown of the best label, and of the best label of each other category."""

_COLUMNS = 64  # units whose maxima are read at once
_IOU = {"paper": "iou", "lite": "iou_lite", "all": "iou_all", "dissect": "iou_dissect"}


@dataclass(frozen=True, eq=False)
class Overlap:
    """The mask of a unit and the pixels of a label in one image.

    Attributes:
        image: index of the image.
        unit: bool [H, W], the unit's mask as it is counted: over the part of the label planes that the
            target saw.
        label: bool [H, W], the pixels that have the label.
        extent: the part of the image, as the target saw it, that they cover.
        shared: number of pixels in both.
    """

    image: int
    unit: NDArray[np.bool_]
    label: NDArray[np.bool_]
    extent: Box
    shared: int

    @property
    def iou(self) -> float:
        """Returns the intersection over union in this image."""
        union = int((self.unit | self.label).sum())
        return self.shared / union if union else 0.0


def overlap_images(layer: ProbedLayer, units: Sequence[int], count: int = IMAGES) -> NDArray[np.int64]:
    """Returns int64 [units, images]: the images with the highest maxima of each unit, highest first.

    The maximum decides whether an image has a mask at all, so the largest overlaps are among them more
    often than among the images with the highest values.
    """
    chosen = []
    for start in range(0, len(units), _COLUMNS):
        # Maxima are stored image by image: one strided read for several units.
        columns = np.ascontiguousarray(layer.maxima[:, list(units[start : start + _COLUMNS])].T)
        chosen += [strongest_images(column, count).indices for column in columns]
    return np.stack(chosen)


def overlap_illustrations(
    layer: ProbedLayer, records: Sequence[Description], upsampling: Upsampling
) -> Iterator[tuple[int, Illustration]]:
    """Yields the best label of each unit, and of each other category, with the images of largest overlap.

    Maps are read from the layer's cache, and thresholds from the records.
    """
    described = [record for record in records if record.evidence.get("categories")]
    if layer.probe.annotations is None or not described:
        return
    units = [record.unit.index for record in described]
    images = overlap_images(layer, units)
    best: dict[tuple[int, int], list[Overlap]] = {}
    labels = [_best_labels(record) for record in described]
    numbers = [[label["number"] for label in of_unit] for of_unit in labels]
    thresholds = np.array([record.evidence["threshold"] for record in described])
    for row, number, overlap in overlaps(layer, units, images, numbers, thresholds, upsampling):
        of_label = best.setdefault((row, number), [])
        of_label.append(overlap)
        of_label.sort(key=lambda each: (-each.shared, each.image))
        del of_label[OF_BEST:]
    for row, record in enumerate(described):
        for rank, label in enumerate(labels[row]):
            found = best.get((row, label["number"]), [])[: OF_OTHERS if rank else OF_BEST]
            yield record.unit.index, _illustration(layer, record, label, rank == 0, found)


def overlaps(
    layer: ProbedLayer,
    units: Sequence[int],
    images: NDArray[np.int64],
    labels: Sequence[Sequence[int]],
    thresholds: NDArray[np.float64],
    upsampling: Upsampling,
) -> Iterator[tuple[int, int, Overlap]]:
    """Yields where masks and labels overlap: the row of the unit, the label and the overlap.

    The masks are those that the tally counts, pixel for pixel. Images without an overlap are left out.

    Args:
        layer: a layer whose probing set has annotations.
        units: unit indices.
        images: int64 [units, n], the images of each unit.
        labels: label numbers of each unit.
        thresholds: float64 [units].
        upsampling: how maps are up-sampled to the label planes.
    """
    import torch

    annotations, limits = labels_of(layer), torch.from_numpy(round_down(thresholds))
    for index, positions, maps in read_exemplar_maps(layer, units, images):
        annotation, region = annotations.of(index), layer.region(index)
        over = grid(annotation.shape, layer.map_shape, region, upsampling)
        covered = extent(over.window, annotation.shape, region)
        rows = positions // images.shape[1]
        with torch.inference_mode():
            upsampled = upsample(torch.from_numpy(maps), over)
            masks = (upsampled > limits[torch.from_numpy(rows)][:, None, None]).numpy()
        pixels: dict[int, NDArray[np.bool_]] = {}
        for row, mask in zip(rows.tolist(), masks, strict=True):
            for number in labels[row] if mask.any() else ():
                if number not in pixels:
                    pixels[number] = label_pixels(annotation, number, over.window)
                shared = int((mask & pixels[number]).sum())
                if shared:
                    yield row, number, Overlap(index, mask, pixels[number], covered, shared)


def label_pixels(
    annotation: ImageAnnotation, number: int, window: tuple[slice, slice]
) -> NDArray[np.bool_]:
    """Returns the pixels of a window that have a label, bool [H, W]."""
    if number in annotation.whole:
        shape = np.empty(annotation.shape, np.bool_)[window].shape
        return np.ones(shape, np.bool_)
    return (annotation.planes[:, window[0], window[1]] == number).any(axis=0)


def extent(window: tuple[slice, slice], shape: tuple[int, int], region: Region) -> Box:
    """Returns the part of the region that a window of the label planes covers."""
    height, width = region.bottom - region.top, region.right - region.left
    return (
        (window[1].start / shape[1] - region.left) / width,
        (window[0].start / shape[0] - region.top) / height,
        (window[1].stop / shape[1] - region.left) / width,
        (window[0].stop / shape[0] - region.top) / height,
    )


def _best_labels(record: Description) -> list[Mapping[str, Any]]:
    """Returns the best label of each category, the best one of all first."""
    evidence = record.evidence
    iou = _IOU[evidence["denominator"]]
    # Stable: equal IoUs keep the order of the categories, as the choice of the description does.
    return sorted(evidence["categories"].values(), key=lambda label: -label[iou])


def _illustration(
    layer: ProbedLayer,
    record: Description,
    label: Mapping[str, Any],
    is_best: bool,
    found: Sequence[Overlap],
) -> Illustration:
    text = words(labels_of(layer).labels[label["number"] - 1])
    iou = f"IoU {label[_IOU[record.evidence['denominator']]]:.3f}"
    category = label["category"]
    title = f"Best label: {text} ({category}), {iou}" if is_best else f"Best {category}: {text}, {iou}"
    images = tuple(
        EvidenceImage(
            overlap.image,
            f"IoU {overlap.iou:.2f}",
            float(layer.values[overlap.image, record.unit.index]),
            masks=(
                Mask(overlap.label, "label", overlap.extent),
                Mask(overlap.unit, "unit", overlap.extent),
            ),
        )
        for overlap in found
    )
    searched = min(IMAGES, len(layer.values))
    note = ""
    if not found:
        note = (
            f"The unit and this label overlap in none of the {searched} images with the highest maxima."
        )
    elif is_best:
        note = (
            f"Of the {searched} images with the highest maxima, those with the largest overlap. Below "
            "each image: the value of the unit, and the IoU in this image alone."
        )
    return Illustration(title, images, note)
