"""Data sets of annotated exemplars: images and masks of units, and what people wrote about them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....datasets.image_folders import ImageFolder
from ....datasets.milannotations import FILE, PER_UNIT, UnitAnnotations, read_annotations
from ....datasets.probing_set import ProbingSet
from ....datasets.zip_archives import is_archive, unpack
from ....harness.errors import InputError
from ....harness.files import fingerprint
from ..exemplar_files import IDS, IMAGES, ExemplarFolder, is_exemplar_folder, read_exemplars
from ..exemplars import exemplar_pixels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotatedUnit:
    """A unit with its annotations.

    Attributes:
        layer: name of its layer.
        unit: its index in the layer.
        row: its row in the layer's exemplars.
        texts: the annotations.
    """

    layer: str
    unit: int
    row: int
    texts: tuple[str, ...]


class _StoredPixels(ImageFolder):
    """The images of published exemplars, whose masks were computed for the pixels as they are stored."""

    upright = False


class AnnotatedExemplars:
    """Units with annotations and exemplars; images and masks are read when they are accessed.

    Args:
        name: name of the data set.
        units: in a fixed order.
        folders: exemplars by layer.
        images: the images that `ids.csv` refers to, for layers without `images.npy`.
        dropped: number of units that were left out because they have too few annotations.

    Raises:
        InputError: if the exemplars of the layers were made with different settings.
    """

    def __init__(
        self,
        name: str,
        units: Sequence[AnnotatedUnit],
        folders: Mapping[str, ExemplarFolder],
        images: ProbingSet | None = None,
        dropped: int = 0,
    ) -> None:
        self.name, self.units, self.folders = name, tuple(units), dict(folders)
        self.images, self.dropped = images, dropped
        agreed([(f"{name}, {layer}", folder.settings) for layer, folder in self.folders.items()])

    def __len__(self) -> int:
        return len(self.units)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The annotations of every unit, in order."""
        return tuple(unit.texts for unit in self.units)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the exemplars, see `ExemplarFolder.settings`."""
        return next(iter(self.folders.values())).settings

    def exemplars(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Returns images uint8 [count, 3, size, size] and masks uint8 [count, 1, size, size] of a unit.

        Raises:
            UnreadableImageError: if an image cannot be decoded; names the file.
        """
        ranks = range(self.settings["count"])
        images = np.stack([self.image(index, rank) for rank in ranks])
        return images, np.stack([self.mask(index, rank) for rank in ranks])[:, None]

    def image(self, index: int, rank: int) -> NDArray[np.uint8]:
        """Returns the image of one exemplar of a unit, uint8 [3, size, size].

        Images that are not part of the data set are preprocessed as the exemplars were (resize, central
        crop), because the masks cover that part of the image.

        Raises:
            UnreadableImageError: if the image cannot be decoded; names the file.
        """
        folder, row = self._position(index)
        if folder.images is not None:
            return np.array(folder.images[row, rank])
        assert self.images is not None
        return exemplar_pixels(self.images.image(int(folder.ids[row, rank])), folder.image_size)

    def mask(self, index: int, rank: int) -> NDArray[np.uint8]:
        """Returns the mask of one exemplar of a unit, uint8 [size, size]."""
        folder, row = self._position(index)
        return np.array(folder.masks[row, rank, 0])

    def image_ids(self, index: int) -> list[tuple[str, bytes | int]]:
        """Returns an identifier of each of a unit's images; equal identifiers mean equal images.

        Images that are looked up are identified by their index. Images of the data set are identified by
        a hash of their pixels: the same index may mean different images in two folders.
        """
        folder, row = self._position(index)
        if folder.images is None:
            assert self.images is not None
            return [(self._probe_fingerprint, image) for image in folder.ids[row].tolist()]
        return [("", blake2b(image.tobytes(), digest_size=16).digest()) for image in folder.images[row]]

    @cached_property
    def _probe_fingerprint(self) -> str:
        assert self.images is not None
        return self.images.fingerprint()

    def _position(self, index: int) -> tuple[ExemplarFolder, int]:
        unit = self.units[index]
        return self.folders[unit.layer], unit.row

    def fingerprint(self) -> str:
        """Hash of units and annotations, of the files' sizes and times, and of the images looked up."""
        files = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns)
            for folder in self.folders.values()
            for path in sorted(folder.path.iterdir())
        ]
        units = [(unit.layer, unit.unit, unit.row, unit.texts) for unit in self.units]
        images = None if self.images is None else self.images.fingerprint()
        return fingerprint([self.name, units, files, images])


def agreed(settings: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns the settings that several sets of exemplars have in common.

    Args:
        settings: (name, settings) of each set.

    Raises:
        InputError: if they differ: a MILAN can be trained on one kind of exemplars only.
    """
    (first_name, first), *others = settings
    for name, other in others:
        for setting, value in other.items():
            if value != first[setting]:
                raise InputError(
                    f"exemplars differ: {setting} is {first[setting]} in {first_name}, {value} in {name}",
                    "train on exemplars that were made with the same settings",
                )
    return dict(first)


def open_annotated(
    path: str | os.PathLike[str],
    images: ProbingSet | str | os.PathLike[str] | None = None,
    *,
    layers: Sequence[str] | None = None,
    per_unit: int | None = PER_UNIT,
    unpacked: str | os.PathLike[str] | None = None,
) -> AnnotatedExemplars:
    """Opens a data set of MILANNOTATIONS, or any folder of exemplars with annotations.

    The folder contains `annotations.csv` (layer, unit, summary) and for every layer a folder of that name
    with exemplars (see `exemplar_files`). Units are matched by index, through `units.npy` if it exists.

    Args:
        path: the folder, or a zip archive of it; an archive is unpacked once, in full, because its
            arrays are memory-mapped.
        images: for data sets without images (ImageNet): the images that `ids.csv` refers to, as a
            probing set or as the folder of their class folders. They are numbered in the order of the
            sorted class folders and file names.
        layers: which layers; None: all that are annotated.
        per_unit: annotations used per unit, the first ones; units with fewer are left out. None: all
            annotations of all units.
        unpacked: folder for the content of an archive; default: next to it, without the suffix.

    Raises:
        InputError: if a file is missing, damaged or does not fit the others.
    """
    folder = _folder(Path(path).expanduser(), unpacked)
    annotations = read_annotations(folder)
    chosen = list(annotations.texts) if layers is None else list(layers)
    folders = {layer: _exemplar_folder(folder, layer, annotations) for layer in chosen}
    matched = [unit for layer in chosen for unit in _matched(layer, annotations, folders[layer])]
    units = [
        replace(unit, texts=unit.texts[:per_unit])
        for unit in matched
        if len(unit.texts) >= (per_unit or 1)
    ]
    dropped = len(matched) - len(units)
    if not units:
        raise InputError(
            f"{annotations.path}: no unit has {per_unit} annotations", "set per_unit to a smaller number"
        )
    if dropped or annotations.blank:
        log.warning(
            "%s: left out %d units with fewer than %s annotations, and %d blank annotations",
            *(annotations.path, dropped, per_unit, annotations.blank),
        )
    return AnnotatedExemplars(folder.name, units, folders, _probing_set(folders, images), dropped)


def _folder(path: Path, unpacked: str | os.PathLike[str] | None) -> Path:
    """Returns the folder of a data set; unpacks an archive unless that was done before."""
    if path.is_dir():
        return path
    if not path.exists():
        raise InputError(f"no such file or folder: {path}")
    if not is_archive(path):
        raise InputError(
            f"{path} is not a data set", f"give a zip archive, or a folder with {FILE} and exemplars"
        )
    folder = path.with_suffix("") if unpacked is None else Path(unpacked).expanduser()
    if not (folder / FILE).is_file():
        if folder.exists():
            raise InputError(
                f"cannot unpack {path}: {folder} already exists and has no {FILE}", "move or remove it"
            )
        unpack(path, FILE, folder)
    return folder


def _exemplar_folder(folder: Path, layer: str, annotations: UnitAnnotations) -> ExemplarFolder:
    annotations.layer(layer)  # rejects an unknown layer, and names the annotated ones
    inner = folder / layer
    if not inner.is_dir():
        layers = [p.name for p in sorted(folder.iterdir()) if p.is_dir() and is_exemplar_folder(p)]
        raise InputError(
            f"{annotations.path} annotates the layer {layer}, but there is no folder {inner}",
            f"there are exemplars of {', '.join(layers)}" if layers else "is the data set complete?",
        )
    return read_exemplars(inner)


def _matched(layer: str, annotations: UnitAnnotations, folder: ExemplarFolder) -> Iterator[AnnotatedUnit]:
    rows = {unit: row for row, unit in enumerate(folder.units.tolist())}
    for unit, texts in sorted(annotations.layer(layer).items()):
        if unit not in rows:
            raise InputError(
                f"{annotations.path} annotates unit {unit} of {layer}, "
                f"but {folder.path} has no exemplars of it"
            )
        yield AnnotatedUnit(layer, unit, rows[unit], texts)


def _probing_set(
    folders: Mapping[str, ExemplarFolder], images: ProbingSet | str | os.PathLike[str] | None
) -> ProbingSet | None:
    """Returns the images to look exemplars up in; None if all layers have their own."""
    without = [folder for folder in folders.values() if folder.images is None]
    if not without:
        return None
    if images is None:
        raise InputError(
            f"{without[0].path} contains no {IMAGES}: the images are not part of the data set",
            f"give the folder of the images that {IDS} refers to (--images imagenet/val)",
        )
    probe = images if isinstance(images, ProbingSet) else _StoredPixels(images)
    for folder in without:
        if folder.ids.size and (folder.ids.max() >= len(probe) or folder.ids.min() < 0):
            raise InputError(
                f"{folder.path / IDS} refers to image {folder.ids.max()}, but {probe.name} has "
                f"{len(probe)} images",
                "give all images that the exemplars were taken from, one folder per class",
            )
    return probe
