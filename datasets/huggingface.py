"""Probing sets from Hugging Face data sets, in a local folder or the local cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError, UnreadableImageError, nearest
from ..harness.files import fingerprint
from .annotations import Kind, annotate
from .decoding import decode, decoding_identity
from .image_listing import Identity, choose, identify
from .probing_set import ProbingSet

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image


class HuggingFace(ProbingSet):
    """One split of a data set; nothing is downloaded.

    Args:
        path_or_name: a folder (written by `save_to_disk`, or with parquet files, images, ...), or the
            name of a data set in the local cache.
        split: such as "train" or "test".
        image_column: the column with the images.
        label_column: the column with the classes (class labels or strings), or None.
        config: configuration of a cached data set that has several.
        annotations: "classes", "colours", both in a list, or None, see `annotate`.
        name: name of the set; default: the name of the folder or data set.
        mask_size: side of the square label planes, see `annotate`.
        limit: maximum number of images; None: all.
        seed: seed of the random choice under `limit`; None takes the first images.
        identity: whether fingerprints use "stat" (sizes, mtimes) or "content" of the files of the table.

    Raises:
        InputError: if the library, the data set, the split or a column is missing.
    """

    def __init__(
        self,
        path_or_name: str,
        split: str,
        image_column: str = "image",
        label_column: str | None = None,
        *,
        config: str | None = None,
        annotations: Kind | Sequence[Kind] | None = None,
        name: str | None = None,
        mask_size: int | None = None,
        limit: int | None = None,
        seed: int | None = 0,
        identity: Identity = "stat",
    ) -> None:
        table = _load(path_or_name, split, config)
        self.name = name or Path(path_or_name).name
        self.source = f"{path_or_name}[{split}]"
        self.rows = choose(len(table), limit, seed)
        self.identity: Identity = identity
        self._column = image_column
        self._table = _undecoded(table, image_column, self.source)
        if label_column is not None:
            self.classes, labels = _classes(table, label_column, self.source)
            self.labels = labels[self.rows]
        self.annotations = annotate(self, annotations, mask_size)

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> Image:
        """Returns image `index` as RGB, see `decode`.

        Raises:
            UnreadableImageError: if it cannot be decoded; names the data set and the row.
        """
        cell = self._table[self.rows[index]][self._column]
        # An undecoded image is {"bytes", "path"}, one of which may be None; a binary column has bytes.
        source = cell.get("bytes") or cell.get("path") if isinstance(cell, dict) else cell
        if not source:
            raise UnreadableImageError(self.locate(index), "the cell is empty")
        return decode(source, self.locate(index))

    def locate(self, index: int) -> str:
        """Returns data set, split and row of image `index`."""
        return f"{self.source} row {self.rows[index]}"

    def fingerprint(self) -> str:
        """Hash of the decoding, the files of the table, the column and the rows."""
        files = [Path(file["filename"]) for file in self._table.cache_files]
        # Small tables may be loaded into memory, without files: hash their cells.
        if not files:
            return fingerprint([decoding_identity(), self._content(), self._column])
        states = [identify(file.parent, [file.name], self.identity) for file in files]
        # The split without the path: a copy in another folder has the same fingerprint.
        split = self.source.rpartition("[")[2]
        return fingerprint([decoding_identity(), states, split, self._column, self.rows])

    def _content(self) -> str:
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(repr(self._table[row][self._column]).encode())
        return digest.hexdigest()


def _load(path_or_name: str, split: str, config: str | None) -> Dataset:
    try:
        from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
        from datasets.exceptions import DatasetsError
        from datasets.packaged_modules.cache.cache import Cache
    except ImportError:
        raise InputError(
            "this probing set needs the package datasets, which is not installed",
            'install it: pip install "dissectbench[hf-datasets]"',
        ) from None
    folder = Path(path_or_name).expanduser()
    try:
        # `save_to_disk` writes one of these: for a Dataset, or for a DatasetDict.
        if any((folder / file).is_file() for file in ("state.json", "dataset_dict.json")):
            loaded: Any = load_from_disk(str(folder))
        elif folder.is_dir():
            loaded = load_dataset(str(folder.resolve()), config)
        else:
            # load_dataset would ask the Hub even for a cached set; the Cache builder never does.
            names: dict[str, Any] = {"repo_id": path_or_name, "dataset_name": folder.name}
            loaded = Cache(**names, config_name=config, version="auto", hash="auto").as_dataset()
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:  # the library raises each
        raise InputError(
            f"cannot load the data set {path_or_name!r}: {error}",
            "give a folder, or load the data set once with load_dataset, which stores it in the cache",
        ) from error
    if isinstance(loaded, Dataset):
        return loaded
    if isinstance(loaded, DatasetDict) and split in loaded:
        return loaded[split]
    splits = [str(name) for name in loaded]
    hint = nearest(split, splits) or None
    raise InputError(f"{path_or_name!r} has no split {split!r}; it has {', '.join(splits)}", hint)


def _undecoded(table: Dataset, column: str, source: str) -> Dataset:
    """Returns the table with encoded images, so that `decode` applies its own rules to them."""
    from datasets import Image, Value

    feature = _feature(table, column, "image_column", source)
    if isinstance(feature, Image):
        return table.cast_column(column, Image(decode=False))
    if isinstance(feature, Value) and feature.dtype in ("binary", "large_binary"):
        return table
    raise InputError(f"column {column!r} of {source} contains {feature}, not images")


def _classes(table: Dataset, column: str, source: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    from datasets import ClassLabel, Value

    feature = _feature(table, column, "label_column", source)
    values = table[column][:]
    # ClassLabel stores -1 where the label is withheld, as in the test splits of benchmarks.
    if None in values or -1 in values:
        raise InputError(
            f"column {column!r} of {source} has rows without a label", "set label_column=null"
        )
    if isinstance(feature, ClassLabel):
        return tuple(feature.names), np.array(values, dtype=np.int64)
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
        # Sorted names: the numbers of the classes do not depend on the order of the rows.
        names, labels = np.unique(np.array(values, dtype=np.str_), return_inverse=True)
        return tuple(names.tolist()), labels.astype(np.int64)
    raise InputError(f"column {column!r} of {source} contains {feature}, not class labels or strings")


def _feature(table: Dataset, column: str, setting: str, source: str) -> Any:
    if column in table.features:
        return table.features[column]
    columns = list(table.features)
    raise InputError(
        f"{setting}: {source} has no column {column!r}; it has {', '.join(columns)}",
        nearest(column, columns) or None,
    )
