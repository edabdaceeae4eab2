"""Cached embeddings of probing sets and texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet
from ..cache import Cache
from ..files import fingerprint
from .protocols import ImageTextEncoder

_IMAGES_PER_SHARD = 2048


def image_embeddings(encoder: ImageTextEncoder, probe: ProbingSet, cache: Cache) -> NDArray[np.float32]:
    """Returns float32 [images, d], unit norm.

    They are cached shard by shard, so that an interrupted run repeats at most one shard.
    """
    key = {"encoder": encoder.fingerprint(), "probe": probe.fingerprint()}

    def shard(first: int, end: int) -> NDArray[np.float32]:
        shard_key = {**key, "first": first, "end": end}
        images = (probe.image(index) for index in range(first, end))
        return cache.array("image_embeddings", shard_key, lambda: encoder.encode_images(images))

    starts = range(0, len(probe), _IMAGES_PER_SHARD)
    return np.concatenate([shard(start, min(start + _IMAGES_PER_SHARD, len(probe))) for start in starts])


def text_embeddings(encoder: ImageTextEncoder, texts: Sequence[str], cache: Cache) -> NDArray[np.float32]:
    """Returns float32 [texts, d], unit norm, of the unchanged texts (no template)."""
    key = {"encoder": encoder.fingerprint(), "texts": fingerprint(list(texts))}
    return cache.array("text_embeddings", key, lambda: encoder.encode_texts(texts))
