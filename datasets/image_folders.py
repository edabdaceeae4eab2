"""Probing sets made of image files: class folders, or one flat folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..harness.errors import InputError
from .annotations import Kind, annotate
from .decoding import decode
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
from .references import class_names_of

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageFiles(ProbingSet):
    """Images at given paths below a folder.

    Args:
        root: the folder.
        paths: paths relative to it, with `/`.
        name: what the set is called.
        identity: what names the images in keys, see `listing.identify`.
    """

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
        return decode(path, path)

    def locate(self, index: int) -> str:
        """Returns the path of image `index`."""
        return str(self.root / self.paths[index])

    def fingerprint(self) -> str:
        """Hash of the relative paths with sizes and mtimes, or contents; taken once per object."""
        if self._fingerprint is None:
            self._fingerprint = identify(self.root, self.paths, self.identity)
        return self._fingerprint


class ImageFolder(ImageFiles):
    """One sub-folder per class, as in torchvision's `ImageFolder`; same order of classes and images.

    Args:
        root: the folder that holds the class folders.
        annotations: "classes" (the class is a label of the whole image), "colours" (the eleven basic
            colours by pixel), both in a list, or None.
        name: what the set is called; default: the name of the folder.
        class_names: names of the classes instead of the names of their folders: a list or a text file
            (one line per class, in the order of the folders), a mapping from folder to name, or a
            weights enum of torchvision such as "ResNet50_Weights.IMAGENET1K_V2".
        mask_size: side of the square label planes, see `annotate`.
        limit: how many images to take at most, None for all.
        seed: of the choice under `limit`; None takes the first images.
        identity: "stat" (paths, sizes, mtimes) or "content" names the images in keys.

    Raises:
        InputError: if the folder is missing, has no class folders, or a class has no image.
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
        chosen = [listed[i] for i in choose(len(listed), limit, seed)]
        super().__init__(folder, [path for path, _ in chosen], name or folder.resolve().name, identity)
        self.classes = tuple(folders) if class_names is None else class_names_of(class_names, folders)
        self.labels = np.array([label for _, label in chosen], dtype=np.int64)
        self.annotations = annotate(self, annotations, mask_size)


def _class_folders(root: Path) -> list[str]:
    folders = subfolders(root)
    if folders:
        return folders
    if list_images(root, recursive=False):
        raise InputError(
            f"{root} holds images, but no class folders",
            "use probe=flat, or sort them into class folders",
        )
    raise InputError(f"{root} holds no class folders", "give the folder that holds one folder per class")


def _images_of_class(folder: Path) -> list[str]:
    images = list_images(folder)
    if not images:
        raise InputError(
            f"the class folder {folder} holds no image ({', '.join(EXTENSIONS)})",
            "fill or remove it: the numbers of the classes behind it depend on it",
        )
    return images


class FlatFolder(ImageFiles):
    """All images of one folder, sorted by name; no classes.

    Args:
        root: the folder.
        annotations: "colours" or None, see `ImageFolder`.
        name: what the set is called; default: the name of the folder.
        recursive: whether images in sub-folders count.
        mask_size: side of the square label planes, see `annotate`.
        limit: how many images to take at most, None for all.
        seed: of the choice under `limit`; None takes the first images.
        identity: "stat" (paths, sizes, mtimes) or "content" names the images in keys.

    Raises:
        InputError: if the folder is missing or holds no image.
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
            raise InputError(f"{folder} holds no image ({', '.join(EXTENSIONS)})", hint)
        chosen = [paths[i] for i in choose(len(paths), limit, seed)]
        super().__init__(folder, chosen, name or folder.resolve().name, identity)
        self.annotations = annotate(self, annotations, mask_size)
