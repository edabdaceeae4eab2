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
_BATCH = 16


def cached_captions(captioner: Captioner, images: Iterable[Image], cache: Cache) -> list[str]:
    """Returns one caption per picture; only what the cache does not hold is captioned, and once.

    A caption is named by the picture's content and the captioner's fingerprint. The captions of a batch
    are kept as soon as it is done, and no more than one batch of pictures is held. Empty captions are
    not kept: they are tried again by the next run.

    Args:
        captioner: who captions what is not in the cache.
        images: the pictures, in any order, some possibly more than once.
        cache: where captions live, shared by all runs.
    """
    model, size = captioner.fingerprint(), getattr(captioner, "batch_size", _BATCH)
    names: list[str] = []
    said: dict[str, str] = {}
    waiting: dict[str, Image] = {}
    for image in images:
        name = image_digest(image)
        names.append(name)
        if name in said or name in waiting:
            continue
        known = cache.get(_KIND, _key(name, model))
        if isinstance(known, str):
            said[name] = known
        else:
            waiting[name] = image
        if len(waiting) == size:
            said |= _kept(captioner, waiting, model, cache)
            waiting = {}
    if waiting:
        said |= _kept(captioner, waiting, model, cache)
    return [said[name] for name in names]


def _kept(captioner: Captioner, images: Mapping[str, Image], model: str, cache: Cache) -> dict[str, str]:
    said = dict(zip(images, captioner.caption(list(images.values())), strict=True))
    for name, text in said.items():
        if text:
            cache.put(_KIND, _key(name, model), text)
    return said


def _key(image: str, model: str) -> dict[str, str]:
    return {"image": image, "captioner": model}


def image_digest(image: Image) -> str:
    """Returns the SHA-256 (hex) of a picture's size and RGB pixels."""
    picture = image.convert("RGB")
    total = hashlib.sha256(f"{picture.width}x{picture.height} ".encode())
    total.update(picture.tobytes())
    return total.hexdigest()
