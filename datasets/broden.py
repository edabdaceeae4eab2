"""Broden, the broadly and densely labelled data set of Network Dissection, exactly as it lies on disk.

    root/index.csv      image, split, ih, iw, sh, sw, then one column per category
    root/category.csv   the categories, in the order that breaks ties
    root/label.csv      number and name of every label
    root/c_<category>.csv   which labels occur in a category, with their coverage
    root/images/...     pictures, and label planes as PNG: label = red + 256 * green, 0 is unlabelled

A cell of a category column is empty or holds tokens between semicolons: a decimal number labels the
whole image (0 is unlabelled and ignored), anything else is the path of a plane below `images`, with
`/` on every system. Images and planes are read when they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError, UnreadableImageError, nearest
from ..harness.files import fingerprint
from .image_folders import ImageFiles
from .image_listing import Identity, choose, existing_folder, identify
from .probing_set import Annotations, ImageAnnotation, Label
from .text_files import Row, read_table

if TYPE_CHECKING:
    from PIL.Image import Image

UNLISTED = -1


class Entry(NamedTuple):
    """One row of index.csv: where it stands, and what it says of its image."""

    line: int
    image: str
    split: str
    shape: tuple[int, int]
    planes: tuple[str, ...]
    whole: tuple[int, ...]


class Broden(ImageFiles):
    """The images of a Broden folder with their annotations.

    Args:
        root: the folder with index.csv, such as `broden1_224`.
        categories: which categories to read; default all. Labels that none of them lists are left
            out, and the others are numbered anew.
        split: "train", "val", or None for both, as published.
        name: what the set is called.
        limit: how many images to take at most, None for all.
        seed: of the choice under `limit`; None takes the first images.
        identity: "stat" (paths, sizes, mtimes) or "content" names images and planes in keys.

    Raises:
        InputError: if a table is missing or wrong, naming file, line and column.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        categories: Sequence[str] | None = None,
        split: str | None = None,
        name: str = "broden",
        *,
        limit: int | None = None,
        seed: int | None = 0,
        identity: Identity = "stat",
    ) -> None:
        folder = existing_folder(root)
        catalogue = read_catalogue(folder, categories)
        entries = _of_split(_read_index(folder / "index.csv", catalogue), split, folder / "index.csv")
        self.entries = tuple(entries[i] for i in choose(len(entries), limit, seed))
        super().__init__(folder / "images", [entry.image for entry in self.entries], name, identity)
        self.annotations = BrodenAnnotations(folder, catalogue, self.entries, identity)

    def image(self, index: int) -> Image:
        """Returns image `index` as RGB.

        Raises:
            UnreadableImageError: if it cannot be decoded; names the file and its line in index.csv.
        """
        try:
            return super().image(index)
        except UnreadableImageError as error:
            reason = f"{error.reason} (index.csv, line {self.entries[index].line})"
            raise UnreadableImageError(error.path, reason) from error


@dataclass(frozen=True)
class Catalogue:
    """The categories and labels that are read.

    Attributes:
        categories: in the order of category.csv.
        labels: numbered from 1.
        numbers: int32 [labels on disk + 1], from a number on disk to that of a label; 0 to 0, and
            `UNLISTED` where no chosen category lists the label.
    """

    categories: tuple[str, ...]
    labels: tuple[Label, ...]
    numbers: NDArray[np.int32]


def read_catalogue(root: Path, categories: Sequence[str] | None = None) -> Catalogue:
    """Reads category.csv, label.csv and c_<category>.csv.

    A label's primary category is the chosen one in which it covers most; of several, the last in
    category.csv.

    Raises:
        InputError: if a table is missing or wrong, or a category is unknown.
    """
    chosen = _choose_categories(root / "category.csv", categories)
    names = _read_labels(root / "label.csv")
    coverage = np.stack([_read_coverage(root / f"c_{c}.csv", len(names)) for c in chosen])
    # The last of the largest: argmax takes the first, so it looks from behind.
    primary = len(chosen) - 1 - coverage[::-1].argmax(axis=0)
    listed = coverage.max(axis=0) >= 0
    if categories is None and not listed.all():
        number = int(np.flatnonzero(~listed)[0]) + 1
        raise InputError(
            f"{root / 'label.csv'}: label {number} ({names[number - 1]}) is in no c_<category>.csv",
            "every label needs a category",
        )
    numbers = np.full(len(names) + 1, UNLISTED, dtype=np.int32)
    numbers[0] = 0
    kept = np.flatnonzero(listed)
    numbers[kept + 1] = np.arange(1, len(kept) + 1)
    labels = tuple(Label(n, names[i], chosen[primary[i]]) for n, i in enumerate(kept.tolist(), 1))
    return Catalogue(chosen, labels, numbers)


def _choose_categories(path: Path, wanted: Sequence[str] | None) -> tuple[str, ...]:
    known: list[str] = []
    for row in read_table(path, ["name"]):
        name = row.text("name")
        if name in known:
            raise row.error("name", f"the category {name!r} stands twice")
        known.append(name)
    if not known:
        raise InputError(f"{path} lists no category")
    if wanted is None:
        return tuple(known)
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in wanted:
        if name not in known:
            raise InputError(
                f"Broden has no category {name!r}; {path} lists {', '.join(known)}",
                nearest(name, known) or None,
            )
    if not wanted:
        raise InputError("categories is empty", f"choose from {', '.join(known)}, or null for all")
    return tuple(name for name in known if name in wanted)


def _read_labels(path: Path) -> list[str]:
    names: dict[int, str] = {}
    for row in read_table(path, ["number", "name"]):
        number = row.integer("number", at_least=1)
        if number in names:
            raise row.error("number", f"the label {number} stands twice")
        names[number] = row.text("name")
    if not names:
        raise InputError(f"{path} lists no label")
    for number in range(1, len(names) + 1):
        if number not in names:
            raise InputError(
                f"{path}: there is no label {number}, but a label {max(names)}",
                "labels are numbered from 1 without gaps",
            )
    return [names[number] for number in sorted(names)]


def _read_coverage(path: Path, n_labels: int) -> NDArray[np.float64]:
    coverage = np.full(n_labels, -1.0)  # below any coverage: not listed
    for row in read_table(path, ["number", "coverage"]):
        number = row.integer("number", at_least=1)
        if number > n_labels:
            raise row.error("number", f"label {number}, but label.csv ends with {n_labels}")
        if coverage[number - 1] >= 0:
            raise row.error("number", f"the label {number} stands twice")
        coverage[number - 1] = row.number("coverage")
    return coverage


def _read_index(path: Path, catalogue: Catalogue) -> list[Entry]:
    columns = ["image", "split", "ih", "iw", "sh", "sw", *catalogue.categories]
    return [_entry(row, catalogue) for row in read_table(path, columns)]


def _entry(row: Row, catalogue: Catalogue) -> Entry:
    row.integer("ih", at_least=1)
    row.integer("iw", at_least=1)
    planes: list[str] = []
    whole: list[int] = []
    for category in catalogue.categories:
        for token in filter(None, (token.strip() for token in row[category].split(";"))):
            if token.isascii() and token.isdigit():
                whole.append(_whole_label(row, category, int(token), catalogue))
            elif token.lower().endswith(".png"):
                planes.append(token)
            else:
                raise row.error(
                    category, f"{token!r} is neither the number of a label nor the path of a PNG"
                )
    shape = (row.integer("sh", at_least=1), row.integer("sw", at_least=1))
    return Entry(
        row.line,
        row.text("image"),
        row["split"].strip(),
        shape,
        tuple(planes),
        tuple(filter(None, whole)),
    )


def _whole_label(row: Row, category: str, number: int, catalogue: Catalogue) -> int:
    if number >= len(catalogue.numbers):
        raise row.error(category, f"label {number}, but label.csv ends with {len(catalogue.numbers) - 1}")
    renumbered = int(catalogue.numbers[number])
    if renumbered == UNLISTED:
        raise row.error(category, f"label {number} is not listed in c_{category}.csv")
    return renumbered


def _of_split(entries: list[Entry], split: str | None, path: Path) -> list[Entry]:
    if not entries:
        raise InputError(f"{path} lists no image")
    if split is None:
        return entries
    found = [entry for entry in entries if entry.split == split]
    if not found:
        known = sorted({entry.split for entry in entries})
        raise InputError(f"{path} has no split {split!r}", f"it has {', '.join(known)}; null takes all")
    return found


class BrodenAnnotations(Annotations):
    """The label planes and whole-image labels of a Broden folder, read image by image.

    Args:
        root: the folder.
        catalogue: categories and labels.
        entries: the images.
        identity: what names the planes in keys, see `listing.identify`.
    """

    def __init__(
        self, root: Path, catalogue: Catalogue, entries: Sequence[Entry], identity: Identity
    ) -> None:
        self.root, self.entries = root, tuple(entries)
        self.identity: Identity = identity
        self.categories, self.labels = catalogue.categories, catalogue.labels
        self._numbers = catalogue.numbers
        self._renumbered = len(self.labels) + 1 != len(self._numbers)
        self._fingerprint: str | None = None

    def of(self, index: int) -> ImageAnnotation:
        """Reads the label planes of image `index`.

        Raises:
            InputError: if a plane is missing or wrong, naming it and its line in index.csv.
        """
        entry = self.entries[index]
        planes = np.empty((len(entry.planes), *entry.shape), dtype=np.int32)
        for plane, token in zip(planes, entry.planes, strict=True):
            self._read_plane(entry, token, plane)
        return ImageAnnotation(entry.shape, planes, entry.whole)

    def _read_plane(self, entry: Entry, token: str, out: NDArray[np.int32]) -> None:
        pixels = self._pixels(entry, token)
        # NumPy 2 keeps uint8 in uint8 * 256: widen first.
        np.multiply(pixels[..., 1], 256, out=out, dtype=np.int32)
        out += pixels[..., 0]
        largest = int(out.max())
        if largest >= len(self._numbers):
            raise self._wrong(
                entry, token, f"label {largest}, but label.csv ends with {len(self._numbers) - 1}"
            )
        if self._renumbered:
            out[...] = self._numbers[out]
            if out.min() == UNLISTED:
                raise self._wrong(entry, token, "it has a label that none of the chosen categories lists")

    def _pixels(self, entry: Entry, token: str) -> NDArray[np.uint8]:
        """Returns uint8 [sh, sw, 3]."""
        from PIL import Image

        try:
            with Image.open(f"{self.root}/images/{token}") as image:
                found = (image.format, image.mode, image.size)
                pixels = np.asarray(image)
        except FileNotFoundError:
            raise self._wrong(entry, token, "no such file") from None
        except Exception as error:  # damaged data makes decoders raise anything
            raise self._wrong(entry, token, f"cannot be read: {error}") from error
        height, width = entry.shape
        if found[:2] != ("PNG", "RGB"):
            raise self._wrong(
                entry, token, f"a label plane is a PNG in RGB, this is a {found[0]} in {found[1]}"
            )
        if found[2] != (width, height):
            size = "{} x {}".format(*found[2])
            raise self._wrong(entry, token, f"it has {size} pixels; index.csv says {width} x {height}")
        return pixels

    def _wrong(self, entry: Entry, token: str, problem: str) -> InputError:
        return InputError(
            f"{self.root / 'index.csv'}, line {entry.line}: label plane images/{token}: {problem}",
            "restore the file from the data set's archive",
        )

    def fingerprint(self) -> str:
        """Hash of labels, rows and planes (sizes and mtimes, or contents); taken once per object."""
        if self._fingerprint is None:
            rows = [(entry.shape, entry.planes, entry.whole) for entry in self.entries]
            labels = [(label.name, label.category) for label in self.labels]
            planes = (plane for entry in self.entries for plane in entry.planes)
            state = identify(self.root / "images", planes, self.identity)
            self._fingerprint = fingerprint(
                [self.categories, labels, self._numbers.tolist(), rows, state]
            )
        return self._fingerprint
