"""Probing sets of image files: one folder per class, or one flat folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..harness.errors import InputError
from ..harness.files import fingerprint
from .annotations import Kind, annotate
from .class_names import names_of_folders
from .decoding import decode, decoding_identity
from .image_listing import (
    EXTENSIONS,
    Identity,
    choose,
    existing_folder,
    identify,
    list_images,
    subfolders,
)
from .probing_set import ProbingSet

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageFiles(ProbingSet):
    """Images at given paths below a folder.

    Args:
        root: the folder.
        paths: paths relative to it, with `/`.
        name: name of the set.
        identity: what the fingerprint uses, see `image_listing.identify`.

    Attributes:
        upright: whether the orientation in EXIF data is applied, see `decode`.
    """

    upright: ClassVar[bool] = True

    def __init__(self, root: Path, paths: Sequence[str], name: str, identity: Identity = "stat") -> None:
        self.root, self.paths, self.name = root, tuple(paths), name
        self.identity: Identity = identity
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image:
        """Returns image `index` as RGB, see `decode`.

        Raises:
            UnreadableImageError: if it cannot be decoded; names the file.
        """
        path = self.locate(index)
        return decode(path, path, upright=self.upright)

    def locate(self, index: int) -> str:
        """Returns the path of image `index`."""
        return str(self.root / self.paths[index])

    def fingerprint(self) -> str:
        """Hash of the decoding and of the relative paths with sizes and mtimes, or contents.

        Computed once per object.
        """
        if self._fingerprint is None:
            files = identify(self.root, self.paths, self.identity)
            self._fingerprint = fingerprint([decoding_identity(self.upright), files])
        return self._fingerprint


class ImageFolder(ImageFiles):
    """One sub-folder per class, in the same order of classes and images as torchvision's `ImageFolder`.

    Args:
        root: the folder with the class folders.
        annotations: "classes" (the class is a label of the whole image), "colours" (one of eleven basic
            colours for each pixel), both in a list, or None.
        name: name of the set; default: the name of the folder.
        class_names: names of the classes to use instead of the names of their folders: a list or a text
            file (one line per class, in the order of the folders), a mapping from folder to name, or a
            weights enum of torchvision such as "ResNet50_Weights.IMAGENET1K_V2".
        mask_size: side of the square label planes, see `annotate`.
        limit: maximum number of images; None: all.
        seed: seed of the random choice under `limit`; None takes the first images.
        identity: whether fingerprints use "stat" (paths, sizes, mtimes) or "content" of the files.

    Raises:
        InputError: if the folder is missing, has no class folders, or a class has no images.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        annotations: Kind | Sequence[Kind] | None = None,
        name: str | None = None,
        *,
        class_names: str | Sequence[str] | Mapping[str, str] | None = None,
        mask_size: int | None = None,
        limit: int | None = None,
        seed: int | None = 0,
        identity: Identity = "stat",
    ) -> None:
        folder = existing_folder(root)
        folders = _class_folders(folder)
        listed = [
            (f"{class_folder}/{path}", label)
            for label, class_folder in enumerate(folders)
            for path in _images_of_class(folder / class_folder)
        ]
        # Chosen after numbering, so that a class has the same number under every limit.
        chosen = [listed[i] for i in choose(len(listed), limit, seed)]
        super().__init__(folder, [path for path, _ in chosen], name or folder.resolve().name, identity)
        # All classes, even those without a chosen image: labels are indices into them.
        self.classes = tuple(folders) if class_names is None else names_of_folders(class_names, folders)
        self.labels = np.array([label for _, label in chosen], dtype=np.int64)
        self.annotations = annotate(self, annotations, mask_size)


def _class_folders(root: Path) -> list[str]:
    folders = subfolders(root)
    if folders:
        return folders
    if list_images(root, recursive=False):
        raise InputError(
            f"{root} contains images, but no class folders",
            "use probe=flat, or move the images into class folders",
        )
    raise InputError(
        f"{root} contains no class folders", "give the folder that contains one folder per class"
    )


def _images_of_class(folder: Path) -> list[str]:
    images = list_images(folder)
    # torchvision refuses empty classes too; skipping one would renumber the classes after it.
    if not images:
        raise InputError(
            f"the class folder {folder} contains no images ({', '.join(EXTENSIONS)})",
            "add images or remove it; the numbers of the classes after it depend on it",
        )
    return images


class FlatFolder(ImageFiles):
    """All images of one folder, sorted by name; no classes.

    Args:
        root: the folder.
        annotations: "colours" or None, see `ImageFolder`.
        name: name of the set; default: the name of the folder.
        recursive: whether to include images in sub-folders.
        mask_size: side of the square label planes, see `annotate`.
        limit: maximum number of images; None: all.
        seed: seed of the random choice under `limit`; None takes the first images.
        identity: whether fingerprints use "stat" (paths, sizes, mtimes) or "content" of the files.

    Raises:
        InputError: if the folder is missing or contains no images.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        annotations: Kind | Sequence[Kind] | None = None,
        name: str | None = None,
        *,
        recursive: bool = False,
        mask_size: int | None = None,
        limit: int | None = None,
        seed: int | None = 0,
        identity: Identity = "stat",
    ) -> None:
        folder = existing_folder(root)
        paths = list_images(folder, recursive)
        if not paths:
            hint = "use probe=imagefolder, or set probe.recursive=true" if subfolders(folder) else None
            raise InputError(f"{folder} contains no images ({', '.join(EXTENSIONS)})", hint)
        chosen = [paths[i] for i in choose(len(paths), limit, seed)]
        # Resolved, because the path `.` has no name.
        super().__init__(folder, chosen, name or folder.resolve().name, identity)
        self.annotations = annotate(self, annotations, mask_size)
