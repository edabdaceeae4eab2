"""What methods and metrics need of foundation models; nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image


@runtime_checkable
class ImageTextEncoder(Protocol):
    """Embeds images and texts in one space (CLIP, SigLIP, ...)."""

    name: str

    def fingerprint(self) -> str:
        """Hash of weights, preprocessing and tokenizer."""
        ...

    def encode_images(self, images: Iterable[Image]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Images are consumed in batches, never all in memory."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Raw strings, no template."""
        ...


@runtime_checkable
class SentenceEncoder(Protocol):
    """Embeds sentences."""

    name: str

    def fingerprint(self) -> str:
        """Hash of the weights."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm."""
        ...
