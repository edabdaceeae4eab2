"""Reads Broden, the broadly and densely labelled data set of Network Dissection, in its published layout.

    root/index.csv          image, split, ih, iw, sh, sw, then one column per category
    root/category.csv       the categories, in the order that breaks ties
    root/label.csv          number and name of every label
    root/c_<category>.csv   the labels of a category, with their coverage
    root/images/...         images, and label planes as PNG: label = red + 256 * green, 0 is unlabelled

A cell of a category column is empty or contains tokens separated by semicolons: a decimal number labels
the whole image (0 means unlabelled and is ignored), anything else is the path of a plane below `images`,
with `/` on every system. Images and planes are read on access.
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
"""Number of a label that none of the chosen categories lists."""


class Entry(NamedTuple):
    """One row of index.csv.

    Attributes:
        line: its line number in the file.
        image: path of the image below `images`.
        split: "train" or "val".
        shape: (sh, sw) of the label planes.
        planes: paths of the label planes of the chosen categories.
        whole: numbers of the labels of the whole image.
    """

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
        categories: the categories to read; default: all. Labels that none of them lists are left
            out, and the others are renumbered.
        split: "train", "val", or None for both.
        name: name of the set.
        limit: maximum number of images; None: all.
        seed: seed of the random choice under `limit`; None takes the first images.
        identity: whether fingerprints use "stat" (paths, sizes, mtimes) or "content" of the files.

    Raises:
        InputError: if a table is missing or invalid; names file, line and column.
    """

    upright = False  # the label planes refer to the pixels as they are stored

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
    """The categories and labels in use.

    Attributes:
        categories: in the order of category.csv.
        labels: numbered from 1.
        numbers: int32 [labels on disk + 1]: maps a number on disk to the number in `labels`; 0 to 0,
            and labels that no chosen category lists to `UNLISTED`.
    """

    categories: tuple[str, ...]
    labels: tuple[Label, ...]
    numbers: NDArray[np.int32]


def read_catalogue(root: Path, categories: Sequence[str] | None = None) -> Catalogue:
    """Reads category.csv, label.csv and c_<category>.csv.

    A label's primary category is the chosen category in which its coverage is largest; ties go to the
    last one in category.csv.

    Raises:
        InputError: if a table is missing or invalid, or a category is unknown.
    """
    chosen = _choose_categories(root / "category.csv", categories)
    # label.csv has a column of categories too, but with numbers of images; coverage decides.
    names = _read_labels(root / "label.csv")
    coverage = np.stack([_read_coverage(root / f"c_{c}.csv", len(names)) for c in chosen])
    # argmax returns the first of equal maxima; reversing the categories makes it the last one, which is
    # the original code's rule for ties.
    primary = len(chosen) - 1 - coverage[::-1].argmax(axis=0)
    listed = coverage.max(axis=0) >= 0
    # Under chosen categories, unlisted labels are those of the other categories.
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


def _choose_categories(path: Path, requested: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the requested categories (None: all) in the order of category.csv."""
    available: list[str] = []
    for row in read_table(path, ["name"]):
        name = row.text("name")
        if name in available:
            raise row.error("name", f"duplicate category {name!r}")
        available.append(name)
    if not available:
        raise InputError(f"{path} lists no categories")
    if requested is None:
        return tuple(available)
    requested = [requested] if isinstance(requested, str) else list(requested)
    for name in requested:
        if name not in available:
            raise InputError(
                f"categories: {path} has no category {name!r}; it has {', '.join(available)}",
                nearest(name, available) or None,
            )
    if not requested:
        raise InputError(
            "categories is empty", f"choose from {', '.join(available)}, or use null for all"
        )
    return tuple(name for name in available if name in requested)


def _read_labels(path: Path) -> list[str]:
    names: dict[int, str] = {}
    for row in read_table(path, ["number", "name"]):
        number = row.integer("number", at_least=1)
        if number in names:
            raise row.error("number", f"duplicate label {number}")
        names[number] = row.text("name")
    if not names:
        raise InputError(f"{path} lists no labels")
    for number in range(1, len(names) + 1):
        if number not in names:
            raise InputError(
                f"{path}: label {number} is missing, but there is a label {max(names)}",
                "number the labels from 1 without gaps",
            )
    return [names[number] for number in sorted(names)]


def _read_coverage(path: Path, n_labels: int) -> NDArray[np.float64]:
    """Returns the coverage of each label, float64 [labels]; -1 for labels that the file does not list."""
    # Below every coverage, so that a category never wins a label that it does not list.
    coverage = np.full(n_labels, -1.0)
    for row in read_table(path, ["number", "coverage"]):
        number = row.integer("number", at_least=1)
        if number > n_labels:
            raise row.error("number", f"label {number}, but the last label in label.csv is {n_labels}")
        if coverage[number - 1] >= 0:
            raise row.error("number", f"duplicate label {number}")
        coverage[number - 1] = row.number("coverage")
    return coverage


def _read_index(path: Path, catalogue: Catalogue) -> list[Entry]:
    columns = ["image", "split", "ih", "iw", "sh", "sw", *catalogue.categories]
    return [_entry(row, catalogue) for row in read_table(path, columns)]


def _entry(row: Row, catalogue: Catalogue) -> Entry:
    # The size of the image is not used, but a damaged table is refused here and not in mid-run.
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
                    category, f"{token!r} is neither a label number nor the path of a PNG file"
                )
    shape = (row.integer("sh", at_least=1), row.integer("sw", at_least=1))
    return Entry(
        row.line,
        row.text("image"),
        row["split"].strip(),
        shape,
        tuple(planes),
        # The published index has scene 0 where a scene was too rare to get a label.
        tuple(filter(None, whole)),
    )


def _whole_label(row: Row, category: str, number: int, catalogue: Catalogue) -> int:
    if number >= len(catalogue.numbers):
        last = len(catalogue.numbers) - 1
        raise row.error(category, f"label {number}, but the last label in label.csv is {last}")
    renumbered = int(catalogue.numbers[number])
    if renumbered == UNLISTED:
        raise row.error(category, f"label {number} is not listed in c_{category}.csv")
    return renumbered


def _of_split(entries: list[Entry], split: str | None, path: Path) -> list[Entry]:
    if not entries:
        raise InputError(f"{path} lists no images")
    # The published procedure uses the images of both splits.
    if split is None:
        return entries
    chosen = [entry for entry in entries if entry.split == split]
    if not chosen:
        splits = sorted({entry.split for entry in entries})
        raise InputError(
            f"split: {path} has no split {split!r}", f"it has {', '.join(splits)}; null takes all"
        )
    return chosen


class BrodenAnnotations(Annotations):
    """The label planes and whole-image labels of a Broden folder, read on access.

    Args:
        root: the folder.
        catalogue: categories and labels.
        entries: the images.
        identity: what the fingerprint uses, see `image_listing.identify`.
    """

    def __init__(
        self, root: Path, catalogue: Catalogue, entries: Sequence[Entry], identity: Identity
    ) -> None:
        self.root, self.entries = root, tuple(entries)
        self.identity: Identity = identity
        self.categories, self.labels = catalogue.categories, catalogue.labels
        self._numbers = catalogue.numbers
        # With all labels in use the numbers stay, which saves one look-up per pixel.
        self._renumbered = len(self.labels) + 1 != len(self._numbers)
        self._fingerprint: str | None = None

    def of(self, index: int) -> ImageAnnotation:
        """Reads the label planes of image `index`.

        Raises:
            InputError: if a plane is missing or invalid; names the plane and its line in index.csv.
        """
        entry = self.entries[index]
        planes = np.empty((len(entry.planes), *entry.shape), dtype=np.int32)
        for plane, token in zip(planes, entry.planes, strict=True):
            self._read_plane(entry, token, plane)
        return ImageAnnotation(entry.shape, planes, entry.whole)

    def _read_plane(self, entry: Entry, token: str, out: NDArray[np.int32]) -> None:
        pixels = self._pixels(entry, token)
        # NumPy 2 computes uint8 * 256 in uint8, which overflows; int32 holds label numbers to 65535.
        np.multiply(pixels[..., 1], 256, out=out, dtype=np.int32)
        out += pixels[..., 0]
        largest = int(out.max())
        if largest >= len(self._numbers):
            last = len(self._numbers) - 1
            raise self._error(entry, token, f"label {largest}, but the last label in label.csv is {last}")
        if self._renumbered:
            out[...] = self._numbers[out]
            if out.min() == UNLISTED:
                raise self._error(
                    entry, token, "it contains a label that none of the chosen categories lists"
                )

    def _pixels(self, entry: Entry, token: str) -> NDArray[np.uint8]:
        """Returns uint8 [sh, sw, 3]."""
        from PIL import Image

        try:
            with Image.open(f"{self.root}/images/{token}") as image:
                format_, mode, size = image.format, image.mode, image.size
                pixels = np.asarray(image)
        except FileNotFoundError:
            raise self._error(entry, token, "no such file") from None
        except Exception as error:  # decoders raise many types of exceptions on damaged files
            raise self._error(entry, token, f"cannot be read: {error}") from error
        height, width = entry.shape
        # Another format or mode would decode to other numbers without an error (JPEG is lossy).
        if (format_, mode) != ("PNG", "RGB"):
            raise self._error(entry, token, f"expected a PNG file in RGB, found {format_} in {mode}")
        if size != (width, height):
            raise self._error(
                entry, token, f"expected {width} x {height} pixels, found {size[0]} x {size[1]}"
            )
        return pixels

    def _error(self, entry: Entry, token: str, problem: str) -> InputError:
        return InputError(
            f"{self.root / 'index.csv'}, line {entry.line}: label plane images/{token}: {problem}",
            "restore the file from the archive of the data set",
        )

    def fingerprint(self) -> str:
        """Hash of labels, rows and planes (sizes and mtimes, or contents); computed once per object."""
        if self._fingerprint is None:
            rows = [(entry.shape, entry.planes, entry.whole) for entry in self.entries]
            labels = [(label.name, label.category) for label in self.labels]
            planes = (plane for entry in self.entries for plane in entry.planes)
            state = identify(self.root / "images", planes, self.identity)
            self._fingerprint = fingerprint(
                [self.categories, labels, self._numbers.tolist(), rows, state]
            )
        return self._fingerprint
