"""Cached embeddings of probing sets and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet
from ..cache import Cache
from ..files import fingerprint
from .protocols import ImageTextEncoder

_IMAGES_PER_SHARD = 2048
_IMAGES, _TEXTS = "image_embeddings", "text_embeddings"  # kinds of cached values


def image_embeddings(encoder: ImageTextEncoder, probe: ProbingSet, cache: Cache) -> NDArray[np.float32]:
    """Returns float32 [images, d], unit norm.

    They are cached shard by shard, so that an interrupted run repeats at most one shard.
    """

    def shard(key: dict[str, Any]) -> NDArray[np.float32]:
        images = (probe.image(index) for index in range(key["first"], key["end"]))
        return cache.array(_IMAGES, key, lambda: encoder.encode_images(images))

    return np.concatenate([shard(key) for key in _shards(encoder, probe)])


def stored_image_embeddings(
    encoder: ImageTextEncoder, probe: ProbingSet, cache: Cache
) -> list[NDArray[np.float32]] | None:
    """Returns the cached embeddings shard by shard, memory-mapped; None if some are missing."""
    shards = [cache.stored_array(_IMAGES, key) for key in _shards(encoder, probe)]
    present = [shard for shard in shards if shard is not None]
    return present if len(present) == len(shards) else None


def _shards(encoder: ImageTextEncoder, probe: ProbingSet) -> list[dict[str, Any]]:
    key = {"encoder": encoder.fingerprint(), "probe": probe.fingerprint()}
    return [
        {**key, "first": start, "end": min(start + _IMAGES_PER_SHARD, len(probe))}
        for start in range(0, len(probe), _IMAGES_PER_SHARD)
    ]


def text_embeddings(encoder: ImageTextEncoder, texts: Sequence[str], cache: Cache) -> NDArray[np.float32]:
    """Returns float32 [texts, d], unit norm, of the unchanged texts (no template)."""
    return cache.array(_TEXTS, _text_key(encoder, texts), lambda: encoder.encode_texts(texts))


def stored_text_embeddings(
    encoder: ImageTextEncoder, texts: Sequence[str], cache: Cache
) -> NDArray[np.float32] | None:
    """Returns the cached embeddings of texts; None if they are missing."""
    return cache.stored_array(_TEXTS, _text_key(encoder, texts))


def _text_key(encoder: ImageTextEncoder, texts: Sequence[str]) -> dict[str, Any]:
    return {"encoder": encoder.fingerprint(), "texts": fingerprint(list(texts))}
