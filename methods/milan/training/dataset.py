"""Annotated exemplars: what people wrote about units, beside the pictures and masks they were shown."""

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
from ..exemplar_files import IMAGES, ExemplarFolder, is_exemplar_folder, read_exemplars
from ..exemplars import picture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotatedUnit:
    """A unit with its texts.

    Attributes:
        layer: name of its layer.
        unit: its index in the layer.
        row: its row in the layer's exemplars.
        texts: what people wrote about it.
    """

    layer: str
    unit: int
    row: int
    texts: tuple[str, ...]


class AnnotatedExemplars:
    """Units with texts and exemplars; pictures are read when they are asked for.

    Args:
        name: what the data set is called.
        units: in a fixed order.
        folders: exemplars by layer.
        images: the images that `ids.csv` counts, for layers whose pictures are not there.
        dropped: how many units have too few texts and were left out.
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
        """The texts of every unit, in order."""
        return tuple(unit.texts for unit in self.units)

    @property
    def settings(self) -> dict[str, Any]:
        """What its exemplars are, see `ExemplarFolder.settings`."""
        return next(iter(self.folders.values())).settings

    def exemplars(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Returns the pictures uint8 [k, 3, side, side] and masks uint8 [k, 1, side, side] of a unit.

        Raises:
            UnreadableImageError: if an image cannot be decoded; names the file.
        """
        ranks = range(self.settings["count"])
        pictures = np.stack([self.picture(index, rank) for rank in ranks])
        return pictures, np.stack([self.mask(index, rank) for rank in ranks])[:, None]

    def picture(self, index: int, rank: int) -> NDArray[np.uint8]:
        """Returns the picture of an exemplar of a unit, uint8 [3, side, side].

        Pictures that are not in the data set are cut from the images with the exemplars' own
        preprocessing (resize, central crop): the masks lie over that part and no other.

        Raises:
            UnreadableImageError: if the image cannot be decoded; names the file.
        """
        folder, row = self._place(index)
        if folder.images is not None:
            return np.array(folder.images[row, rank])
        assert self.images is not None
        return picture(self.images.image(int(folder.ids[row, rank])), folder.image_size)

    def mask(self, index: int, rank: int) -> NDArray[np.uint8]:
        """Returns the mask of an exemplar of a unit, uint8 [side, side]."""
        folder, row = self._place(index)
        return np.array(folder.masks[row, rank, 0])

    def picture_names(self, index: int) -> list[tuple[str, bytes | int]]:
        """Returns a name of each of a unit's pictures; those with one name are the same picture.

        Images that are looked up are named by their numbers, others by what they show: nothing else says
        that one number in two folders means one picture.
        """
        folder, row = self._place(index)
        if folder.images is None:
            assert self.images is not None
            return [(self._images_name, number) for number in folder.ids[row].tolist()]
        return [("", blake2b(shown.tobytes(), digest_size=16).digest()) for shown in folder.images[row]]

    @cached_property
    def _images_name(self) -> str:
        assert self.images is not None
        return self.images.fingerprint()

    def _place(self, index: int) -> tuple[ExemplarFolder, int]:
        unit = self.units[index]
        return self.folders[unit.layer], unit.row

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        return (self.exemplars(index) for index in range(len(self)))

    def fingerprint(self) -> str:
        """Hash of units and texts, of the files' sizes and times, and of the images looked up."""
        files = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns)
            for folder in self.folders.values()
            for path in sorted(folder.path.iterdir())
        ]
        units = [(unit.layer, unit.unit, unit.row, unit.texts) for unit in self.units]
        images = None if self.images is None else self.images.fingerprint()
        return fingerprint([self.name, units, files, images])


def agreed(settings: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns the settings that several sets of exemplars, by what they are called, have in common.

    Raises:
        InputError: if they differ: one MILAN understands one kind of exemplars.
    """
    (first, usual), *others = settings
    for name, given in others:
        for setting, value in given.items():
            if value != usual[setting]:
                raise InputError(
                    f"different exemplars: {setting} is {usual[setting]} in {first}, {value} in {name}",
                    "learn from exemplars that were made alike",
                )
    return dict(usual)


def open_annotated(
    path: str | os.PathLike[str],
    images: ProbingSet | str | os.PathLike[str] | None = None,
    *,
    layers: Sequence[str] | None = None,
    per_unit: int | None = PER_UNIT,
    unpacked: str | os.PathLike[str] | None = None,
) -> AnnotatedExemplars:
    """Opens a data set of MILANNOTATIONS, or any folder of exemplars with annotations.

    The folder holds `annotations.csv` (layer, unit, summary) and for every layer a folder of that name
    with exemplars (see `layout`). Units meet their exemplars by index, through `units.npy` where there
    is one.

    Args:
        path: the folder, or the zip it comes in; a zip is unpacked once, in full, since its arrays are
            memory-mapped.
        images: where the pictures are not in the data set (ImageNet): the images that `ids.csv` counts,
            as a probing set or as the folder around their class folders. They are counted in the order
            of the sorted class folders and file names.
        layers: which layers; None: all that are annotated.
        per_unit: the first so many texts of a unit count, and units with fewer are left out; None: all
            texts of all units.
        unpacked: folder for the content of a zip; default: beside it, without the ending.

    Raises:
        InputError: if a file is missing, damaged or does not fit the others.
    """
    folder = _folder(Path(path).expanduser(), unpacked)
    found = read_annotations(folder)
    chosen = list(found.texts) if layers is None else list(layers)
    folders = {layer: _exemplars(folder, layer, found) for layer in chosen}
    matched = [unit for layer in chosen for unit in _matched(layer, found, folders[layer])]
    units = [
        replace(unit, texts=unit.texts[:per_unit])
        for unit in matched
        if len(unit.texts) >= (per_unit or 1)
    ]
    dropped = len(matched) - len(units)
    if not units:
        raise InputError(f"{found.path}: no unit has {per_unit} annotations", "set per_unit to fewer")
    if dropped or found.blank:
        log.warning(
            "%s: %d units with fewer than %s annotations left out, %d blank annotations",
            *(found.path, dropped, per_unit, found.blank),
        )
    return AnnotatedExemplars(folder.name, units, folders, _images(folders, images), dropped)


def _folder(path: Path, unpacked: str | os.PathLike[str] | None) -> Path:
    if path.is_dir():
        return path
    if not path.exists():
        raise InputError(f"no such file or folder: {path}")
    if not is_archive(path):
        raise InputError(
            f"{path} is no data set", f"give a zip, or the folder that holds {FILE} and the exemplars"
        )
    folder = path.with_suffix("") if unpacked is None else Path(unpacked).expanduser()
    if not (folder / FILE).is_file():
        if folder.exists():
            raise InputError(f"cannot unpack {path}: {folder} is there already, without {FILE}")
        unpack(path, FILE, folder)
    return folder


def _exemplars(folder: Path, layer: str, found: UnitAnnotations) -> ExemplarFolder:
    found.layer(layer)  # an unknown layer is refused by what is annotated, not by what lies there
    inner = folder / layer
    if not inner.is_dir():
        there = [p.name for p in sorted(folder.iterdir()) if p.is_dir() and is_exemplar_folder(p)]
        raise InputError(
            f"{found.path} annotates the layer {layer}, but there is no folder {inner}",
            f"exemplars there: {', '.join(there)}" if there else "is the data set complete?",
        )
    return read_exemplars(inner)


def _matched(layer: str, found: UnitAnnotations, folder: ExemplarFolder) -> Iterator[AnnotatedUnit]:
    rows = {unit: row for row, unit in enumerate(folder.units.tolist())}
    for unit, texts in sorted(found.layer(layer).items()):
        if unit not in rows:
            raise InputError(
                f"{found.path} annotates unit {unit} of {layer}, "
                f"of which {folder.path} holds no exemplars"
            )
        yield AnnotatedUnit(layer, unit, rows[unit], texts)


def _images(
    folders: Mapping[str, ExemplarFolder], images: ProbingSet | str | os.PathLike[str] | None
) -> ProbingSet | None:
    """Returns the images to look pictures up in; None if no layer needs them."""
    without = [folder for folder in folders.values() if folder.images is None]
    if not without:
        return None
    if images is None:
        raise InputError(
            f"{without[0].path} holds no {IMAGES}: its pictures are not part of the data set",
            "give the folder of the images that ids.csv counts (images: .../imagenet/val)",
        )
    probe = images if isinstance(images, ProbingSet) else ImageFolder(images)
    for folder in without:
        if folder.ids.size and (folder.ids.max() >= len(probe) or folder.ids.min() < 0):
            raise InputError(
                f"{folder.path / 'ids.csv'} names image {folder.ids.max()}, but {probe.name} has "
                f"{len(probe)} images",
                "give the whole set that the exemplars were taken from, in one folder per class",
            )
    return probe
