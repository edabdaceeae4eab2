"""The encoder's vectors of the exemplars of units, computed once and kept in the layer's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.files import fingerprint
from ...harness.identity import weights_digest
from ...harness.probe import ProbedLayer
from .encoder import PyramidEncoder
from .exemplars import ExemplarSettings, Shown, TopImages, exemplars

_FORMAT = 1
_KIND = "milan_vectors"
_PICTURES = 16  # encoded at once; with the masks of 64 units each, 51 MB at 224 x 224


def encoder_fingerprint(encoder: PyramidEncoder) -> str:
    """Hash of what a vector depends on besides the picture and its mask."""
    pixels = [encoder.mean.flatten().tolist(), encoder.std.flatten().tolist()]
    return fingerprint([weights_digest(encoder.model), *pixels])


def unit_vectors(
    layer: ProbedLayer, top: TopImages, settings: ExemplarSettings, encoder: PyramidEncoder, name: str
) -> NDArray[np.float32]:
    """Returns the vectors of the exemplars of some units, float32 [units, k, size].

    What the cache does not hold is computed for all units together: each image is shown to the target
    once, each picture to the encoder once. A vector depends on its own picture and mask alone.

    Args:
        layer: the layer, with its cache.
        top: the units with their top images.
        settings: of the exemplars.
        encoder: makes one vector of an exemplar.
        name: names the encoder in keys, see `encoder_fingerprint`.
    """
    keys = [_key(layer, unit, settings, name) for unit in top.units.tolist()]
    new = [row for row, key in enumerate(keys) if not layer.cache.path(_KIND, key, ".npy").is_file()]
    fresh = dict(zip(new, _encoded(layer, _rows(top, new), settings, encoder), strict=True))

    def vectors(row: int) -> NDArray[np.float32]:
        if row not in fresh:  # there is a file, but it cannot be read
            return _encoded(layer, _rows(top, [row]), settings, encoder)[0]
        return fresh[row]

    kept = [layer.cache.array(_KIND, key, lambda row=row: vectors(row)) for row, key in enumerate(keys)]
    return np.stack(kept)


def _key(layer: ProbedLayer, unit: int, settings: ExemplarSettings, encoder: str) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "layer": layer.fingerprint,
        "unit": unit,
        "exemplars": settings.identity(),
        "encoder": encoder,
    }


def _rows(top: TopImages, rows: Sequence[int]) -> TopImages:
    chosen = np.asarray(rows, np.int64)
    return TopImages(top.units[chosen], top.indices[chosen], top.values[chosen])


@dataclass(frozen=True)
class _Repeated:
    """The picture of each mask, [masks, 1, 3, side, side], held once where several masks share it."""

    shown: Sequence[Shown]
    which: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.which), 1, *self.shown[0].pixels.shape

    def __getitem__(self, place: tuple[int, int]) -> NDArray[np.uint8]:
        return self.shown[self.which[place[0]]].pixels


def _encoded(
    layer: ProbedLayer, top: TopImages, settings: ExemplarSettings, encoder: PyramidEncoder
) -> NDArray[np.float32]:
    """Streams the exemplars through the encoder, some pictures at a time."""
    found = np.empty((*top.indices.shape, encoder.size), np.float32)
    stream = exemplars(layer, top, settings)
    while shown := list(islice(stream, _PICTURES)):
        which = np.repeat(np.arange(len(shown)), [len(one.rows) for one in shown])
        masks = np.concatenate([one.masks for one in shown])[:, None, None].view(np.uint8)
        ids = np.array([one.index for one in shown])[which]
        vectors = encoder.encode(_Repeated(shown, which), masks, ids[:, None])
        rows, ranks = (np.concatenate([getattr(one, n) for one in shown]) for n in ("rows", "ranks"))
        found[rows, ranks] = vectors[:, 0]
    return found
