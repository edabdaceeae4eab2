"""Caches captions of any captioner."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..cache import Cache
from .protocols import Captioner

if TYPE_CHECKING:
    from PIL.Image import Image

_KIND = "captions"


def cached_captions(captioner: Captioner, images: Iterable[Image], cache: Cache) -> list[str]:
    """Returns one caption per image; an image that is not in the cache is captioned once.

    The key of a caption is the image's content and the captioner's fingerprint. The captions of a batch
    are stored as soon as the batch is done, and at most one batch of images is held in memory. Empty
    captions are not stored: the next run tries them again.

    Args:
        captioner: captions the images that are not in the cache.
        images: the images, in any order; some may occur more than once.
        cache: the cache, shared by all runs.
    """
    model = captioner.fingerprint()
    digests: list[str] = []
    captions: dict[str, str] = {}
    batch: dict[str, Image] = {}
    for image in images:
        digest = image_digest(image)
        digests.append(digest)
        # Images of one batch with the same pixels would otherwise be captioned, and paid, twice.
        if digest in captions or digest in batch:
            continue
        cached = cache.get(_KIND, _key(digest, model))
        if isinstance(cached, str):
            captions[digest] = cached
        else:
            batch[digest] = image
        if len(batch) == captioner.batch_size:
            captions |= _captioned(captioner, batch, model, cache)
            batch = {}
    if batch:
        captions |= _captioned(captioner, batch, model, cache)
    return [captions[digest] for digest in digests]


def _captioned(
    captioner: Captioner, images: Mapping[str, Image], model: str, cache: Cache
) -> dict[str, str]:
    """Captions images, stores the captions and returns them, by the digests of the images."""
    captions = dict(zip(images, captioner.caption(list(images.values())), strict=True))
    for digest, text in captions.items():
        if text:
            cache.put(_KIND, _key(digest, model), text)
    return captions


def _key(image: str, model: str) -> dict[str, str]:
    return {"image": image, "captioner": model}


def image_digest(image: Image) -> str:
    """Returns the SHA-256 (hex) of an image's size and RGB pixels."""
    rgb = image.convert("RGB")
    # The size comes first: images of another shape may have the same bytes.
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height} ".encode())
    digest.update(rgb.tobytes())
    return digest.hexdigest()
