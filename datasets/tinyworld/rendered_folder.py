"""Writes tinyworld to a folder in Broden's layout, with captions and classes, and reads those back.

Files of a folder (Network Dissection, section 2.1, and the published Broden archives):

    index.csv     image, split, ih, iw, sh, sw, and one column per category
    label.csv     number, name, category, frequency, coverage, syns
    category.csv  name, first, last, count, frequency
    c_*.csv       code, number, name, frequency, coverage of one category
    images/       the images and their label planes (PNG, label = R + 256 G)
    pictures.csv  image, class, caption
    manifest.json the settings; written last

Coverage is in units of whole images; the frequency of a category is the sum over its labels.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...harness.errors import InputError
from ...harness.files import explained, read_json, write_json
from .canvas import LABELS, SIZE
from .captions import caption
from .rendering import RenderedImage, render_image
from .words import CATEGORIES, NUMBER, OBJECTS, SYNONYMS, WORDS

# Must be increased when the same settings give another image, another label or another file.
FORMAT = 1
# Modification time of every image: 1 January 2020, 0:00 UTC.
MODIFIED = 1_577_836_800


def manifest(images: int, seed: int) -> dict[str, int]:
    """Returns the settings that determine the content of a folder."""
    return {"format": FORMAT, "images": images, "seed": seed}


def ensure_folder(root: Path, images: int, seed: int) -> Path:
    """Renders tinyworld into `root` unless it is there; a folder is complete or absent.

    Raises:
        InputError: if `root` contains anything else or cannot be written.
    """
    expected = manifest(images, seed)
    if (root / "manifest.json").is_file():
        existing = read_json(root / "manifest.json")
        if existing != expected:
            raise InputError(
                f"{root} was rendered with other settings: {existing}, not {expected}",
                "choose another probe.root, or remove the folder",
            )
        return root
    with explained(root):
        if root.exists() and any(root.iterdir()):
            raise InputError(
                f"{root} is neither empty nor a rendered tinyworld folder (it has no manifest.json)",
                "choose another probe.root",
            )
        root.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
        try:
            write_folder(temporary, images, seed)
            _publish(temporary, root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return root


def _publish(temporary: Path, root: Path) -> None:
    """Renames the finished folder; if another process was first, its equal folder is kept."""
    temporary.chmod(0o755)  # mkdtemp creates folders that only their owner may read
    try:
        temporary.replace(root)
    except OSError:
        if not (root / "manifest.json").is_file():
            raise


def write_folder(root: Path, images: int, seed: int) -> None:
    """Renders images 0 to `images` - 1 of `seed` into an empty folder."""
    from rich.console import Console
    from rich.progress import track

    (root / "images").mkdir()
    statistics, rows, captions = _LabelStatistics(), [], []
    console = Console(stderr=True, force_jupyter=False)
    # A notebook is a terminal for rich; there and in log files each state of the bar would stay.
    quiet = not sys.stderr.isatty()
    for index in track(
        range(images), "rendering tinyworld", console=console, transient=True, disable=quiet
    ):
        image = render_image(seed, index)
        statistics.add(image)
        name = f"{image.spec.main.kind}_{index:05d}"
        rows.append((name, _planes(image), image.spec.scene))
        captions.append((f"{name}.png", image.spec.main.kind, caption(image.spec)))
        _save(root / "images" / f"{name}.png", image.pixels)
    # Labels are numbered by frequency, as in Broden, so planes can only be written when all are counted.
    numbers = statistics.write(root)
    _write_index(root, rows, numbers)
    _write_csv(root / "pictures.csv", ("image", "class", "caption"), captions)
    write_json(root / "manifest.json", manifest(images, seed))


def _planes(image: RenderedImage) -> dict[str, NDArray[np.uint8]]:
    """Returns the label planes that are not empty, by the suffix of their file names."""
    planes = {"color": image.colour, "object": image.object, "texture": image.texture}
    planes |= {f"part_{depth + 1}": plane for depth, plane in enumerate(image.parts)}
    return {name: plane for name, plane in planes.items() if plane.any()}


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)
    # A fixed time: fingerprints from sizes and times are the same when the folder is rendered again.
    os.utime(path, (MODIFIED, MODIFIED))


class _LabelStatistics:
    """Counts, for each word, the images that show it and the label pixels that it covers."""

    def __init__(self) -> None:
        self.frequency = np.zeros(len(WORDS) + 1, np.int64)
        self.pixels = np.zeros(len(WORDS) + 1, np.int64)

    def add(self, image: RenderedImage) -> None:
        planes = np.stack([*_planes(image).values()])
        covered = np.bincount(planes.ravel(), minlength=len(WORDS) + 1)
        covered[NUMBER[image.spec.scene]] = LABELS * LABELS
        covered[0] = 0  # unlabelled
        self.frequency += covered > 0
        self.pixels += covered

    def write(self, root: Path) -> NDArray[np.int64]:
        """Writes the tables; returns the number of each word by frequency, 0 for words never shown."""
        order = sorted(np.flatnonzero(self.frequency), key=lambda w: (-self.frequency[w], w))
        numbers = np.zeros(len(WORDS) + 1, np.int64)
        numbers[order] = np.arange(1, len(order) + 1)
        labels = {int(numbers[w]): self._row(int(w)) for w in order}
        _write_csv(
            root / "label.csv",
            ("number", "name", "category", "frequency", "coverage", "syns"),
            [
                # Broden's notation: the category with the number of its images.
                (n, name, f"{c}({f})", f, f"{s:.6f}", _synonyms(name))
                for n, (name, c, f, s) in labels.items()
            ],
        )
        self._write_categories(root, labels)
        return numbers

    def _row(self, word: int) -> tuple[str, str, int, float]:
        """Returns name, category, frequency and coverage of a word."""
        name = WORDS[word - 1]
        category = next(category for category, words in CATEGORIES.items() if name in words)
        return name, category, int(self.frequency[word]), float(self.pixels[word] / LABELS**2)

    def _write_categories(self, root: Path, labels: Mapping[int, tuple[str, str, int, float]]) -> None:
        rows = []
        for category in CATEGORIES:
            members = {n: row for n, row in labels.items() if row[1] == category}
            if not members:
                continue
            rows.append(
                (category, min(members), max(members), len(members), sum(r[2] for r in members.values()))
            )
            codes = [(i, n, r[0], r[2], r[3]) for i, (n, r) in enumerate(members.items(), 1)]
            _write_csv(
                root / f"c_{category}.csv", ("code", "number", "name", "frequency", "coverage"), codes
            )
        _write_csv(root / "category.csv", ("name", "first", "last", "count", "frequency"), rows)


def _synonyms(name: str) -> str:
    return ";".join(synonym for synonym, word in SYNONYMS.items() if word == name)


def _write_index(
    root: Path, rows: Sequence[tuple[str, dict[str, NDArray[np.uint8]], str]], numbers: NDArray[np.int64]
) -> None:
    """Writes the label planes with the numbers of label.csv, and the list of images.

    Args:
        root: folder.
        rows: for each image its name, its label planes with `words.NUMBER`, and its scene.
        numbers: from `words.NUMBER` to the numbers of label.csv.
    """
    lines = []
    for name, planes, scene in rows:
        cells = {category: [] for category in CATEGORIES}
        for suffix, plane in planes.items():
            file = f"{name}_{suffix}.png"
            coded = numbers[plane]
            _save(
                root / "images" / file,
                np.stack([coded % 256, coded // 256, 0 * coded], -1).astype(np.uint8),
            )
            cells[suffix.partition("_")[0]].append(file)
        cells["scene"].append(str(numbers[NUMBER[scene]]))
        sizes = (SIZE, SIZE, LABELS, LABELS)
        lines.append((f"{name}.png", _split(name), *sizes, *(";".join(cell) for cell in cells.values())))
    _write_csv(root / "index.csv", ("image", "split", "ih", "iw", "sh", "sw", *CATEGORIES), lines)


def _split(name: str) -> str:
    """Assigns about seven of ten images to "train", by a hash of the name."""
    # Broden is split in the same way: 0.7 to 0.3, by md5.
    return "train" if hashlib.md5(name.encode(), usedforsecurity=False).digest()[0] < 0.7 * 256 else "val"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_captions_and_classes(root: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Returns the captions of a rendered folder, and the classes as indices into `OBJECTS`."""
    with (root / "pictures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = {name: i for i, name in enumerate(OBJECTS)}
    return tuple(row["caption"] for row in rows), np.array(
        [classes[row["class"]] for row in rows], np.int64
    )
