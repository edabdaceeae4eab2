"""A probing set of images that a program holds: PIL images, arrays, or paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError
from ..harness.files import fingerprint
from .annotations import Kind, annotate
from .decoding import decode, decoding_identity
from .probing_set import ProbingSet

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageList(ProbingSet):
    """Images in a given order, identified by their contents.

    Args:
        images: PIL images, uint8 arrays [H, W, 3], or paths of image files; kinds can be mixed.
        name: name of the set in records and tables.
        labels: class index of each image, if the images have classes.
        classes: names of the classes.
        annotations: "classes", "colours" (one of eleven basic colours for each pixel), both in a list,
            or None, see `annotate`. Network Dissection needs annotations.
        mask_size: side of the square label planes, see `annotate`.

    Raises:
        InputError: if there is no image, an entry is none of these kinds, or labels and classes do not
            fit.

    Example:
        >>> grey = np.full((64, 64, 3), 127, np.uint8)
        >>> len(ImageList([grey, grey + 50]))
        2
    """

    def __init__(
        self,
        images: Sequence[Image | NDArray[np.uint8] | str | os.PathLike[str]],
        name: str = "images",
        *,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        annotations: Kind | Sequence[Kind] | None = "colours",
        mask_size: int | None = 112,
    ) -> None:
        if len(images) == 0:
            raise InputError("the list of images is empty")
        self._images = [_entry(image, index) for index, image in enumerate(images)]
        self.name = name
        if labels is not None or classes is not None:
            self.labels, self.classes = _classes(labels, classes, len(images))
        self._fingerprint: str | None = None
        self.annotations = annotate(self, annotations, mask_size)

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> Image:
        """Returns image `index` as RGB.

        Raises:
            UnreadableImageError: if its file cannot be decoded; names the file.
        """
        entry = self._images[index]
        return decode(str(entry), str(entry)) if isinstance(entry, Path) else entry

    def locate(self, index: int) -> str:
        """Returns the path of image `index`, or its position in the list."""
        entry = self._images[index]
        return str(entry) if isinstance(entry, Path) else f"{self.name}[{index}]"

    def fingerprint(self) -> str:
        """Hash of the decoding and of all pixels, or bytes of files, in order. Computed once."""
        if self._fingerprint is None:
            digests = [_digest(entry) for entry in self._images]
            self._fingerprint = fingerprint([decoding_identity(True), digests])
        return self._fingerprint


def _entry(image: Any, index: int) -> Image | Path:
    """Returns an image as RGB, or the path of one."""
    from PIL import Image

    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, (str, os.PathLike)):
        return Path(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,):
        # A copy: the caller may write to the array, and the fingerprint would no longer hold.
        return Image.fromarray(image.copy())
    what = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
    raise InputError(
        f"image {index} of the list is a {what}", "use PIL images, uint8 arrays [H, W, 3], or paths"
    )


def _classes(
    labels: Sequence[int] | None, classes: Sequence[str] | None, n_images: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if labels is None or classes is None:
        raise InputError("images have both `labels` and `classes`, or neither")
    indices = np.asarray(labels, dtype=np.int64)
    if indices.shape != (n_images,):
        raise InputError(f"{n_images} images have labels of shape {list(indices.shape)}")
    if not ((indices >= 0) & (indices < len(classes))).all():
        raise InputError(f"labels must be between 0 and {len(classes) - 1}, the index of the last class")
    return indices, tuple(classes)


def _digest(entry: Image | Path) -> str:
    if not isinstance(entry, Path):
        return hashlib.sha256(repr(entry.size).encode() + entry.tobytes()).hexdigest()
    try:
        return hashlib.sha256(entry.read_bytes()).hexdigest()
    # The pass over the images reports it with its name, or skips it.
    except OSError:
        return f"unreadable: {entry}"
