"""Reads bundles, which anybody may have written; refuses damaged, too large and newer ones."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ...harness.errors import InputError
from .bundle import (
    DESCRIPTIONS,
    FORMAT,
    MANIFEST,
    RUN,
    SCHEMA,
    SCORES,
    SUMMARY,
    Bundle,
    DescribedUnit,
    RunInfo,
    ScoredUnit,
    descriptions_schema,
    scores_schema,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Row = TypeVar("Row", bound=NamedTuple)

MOST_BYTES = 256_000_000
"""Bytes that a bundle may have, packed and unpacked: a layer of 10,000 units needs a few million."""
MOST_ROWS = 5_000_000
"""Rows that a table of a bundle may have: Parquet stores billions of equal rows in a few bytes."""
MOST_TEXT = 100_000
"""Characters that a text of a bundle may have."""

_MEMBERS = (MANIFEST, RUN, SUMMARY, DESCRIPTIONS, SCORES)


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Reads a bundle and checks its files against their hashes. `validate` checks the content.

    Nothing is written to the disk, and no name of the archive is used as a path.

    Raises:
        InputError: if the file is missing, truncated, changed, too large, of a newer version or not a
            bundle; says which.
    """
    path = Path(path)
    files = _files(path)
    try:
        info = _info(files[RUN])
        summary = _json(files[SUMMARY])
        descriptions = list(_rows(files[DESCRIPTIONS], descriptions_schema(), DescribedUnit))
        scores = list(_rows(files[SCORES], scores_schema(), ScoredUnit)) if SCORES in files else []
    except InputError as error:
        raise InputError(printable(f"{path}, {error.message}"), error.hint) from error
    if (info.references is None) != (SCORES not in files):
        raise InputError(f"{path} has scores without references, or references without scores")
    return Bundle(info, descriptions, scores, summary, str(path))


def printable(text: str) -> str:
    """Returns a text of a bundle without control characters, with which it could rewrite a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _files(path: Path) -> dict[str, bytes]:
    """Returns the content of every file of a bundle, checked against the manifest."""
    damaged = "submit it again, or ask its author for another copy"
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes; no bundle is that large")
    try:
        with zipfile.ZipFile(path) as archive:
            files = _members(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(f"{path} is not a bundle, or is truncated: {error}", damaged) from error
    except (NotImplementedError, RuntimeError) as error:  # unknown compression, or encrypted
        raise InputError(f"{path} cannot be unpacked: {error}") from error
    listed = _listed(path, files)
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != listed.get(name):
            raise InputError(f"{path}: {name} was changed after the bundle was written", damaged)
    missing = [name for name in listed if name not in files]
    if missing:
        raise InputError(f"{path}: {missing[0]} is missing", damaged)
    return files


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    for entry in entries:
        # Exact names: neither folders nor "../run.json" nor "/run.json" is one of them.
        if entry.filename not in _MEMBERS:
            raise InputError(
                f"{path} contains {entry.filename!r}, which is no part of a bundle",
                f"a bundle consists of {', '.join(_MEMBERS)}",
            )
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise InputError(f"{path} contains two files of one name")
    size = sum(entry.file_size for entry in entries)
    if size > MOST_BYTES:
        raise InputError(f"{path} unpacks to {size:,} bytes, more than {MOST_BYTES:,}")
    # `read` returns at most the declared size, and raises an error if the checksum is another one.
    return {entry.filename: archive.read(entry) for entry in entries}


def _listed(path: Path, files: dict[str, bytes]) -> dict[str, str]:
    """Returns the hashes that the manifest lists by file, and removes the manifest from `files`."""
    if MANIFEST not in files:
        raise InputError(f"{path} is not a bundle: it has no {MANIFEST}")
    try:
        manifest = _json(files.pop(MANIFEST))
    except InputError as error:
        raise InputError(f"{path}, {MANIFEST}: {error.message}") from error
    if manifest.get("format") != FORMAT:
        raise InputError(f"{path} is not a bundle: its format is {manifest.get('format')!r}")
    schema = manifest.get("schema")
    if schema != SCHEMA:
        raise InputError(
            f"{path}: schema {schema!r}, this version reads schema {SCHEMA}",
            printable(f"it was written by {manifest.get('written_by', 'another version')}: install that"),
        )
    try:
        listed = {name: str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {MANIFEST} lists no hashes") from error
    required = [name for name in (RUN, SUMMARY, DESCRIPTIONS) if name not in listed]
    if required:
        raise InputError(f"{path}: {MANIFEST} does not list {required[0]}")
    return listed


def _json(content: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"invalid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError("invalid JSON: must be an object")
    return value


def _info(content: bytes) -> RunInfo:
    from pydantic import TypeAdapter, ValidationError

    _json(content)  # refuses NaN, which the next step would accept
    try:
        return TypeAdapter(RunInfo).validate_json(content, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{RUN}: {where}: {problem['msg']}") from error


def _rows(content: bytes, schema: pa.Schema, row: Callable[..., Row]) -> Iterator[Row]:
    """Yields the rows of a Parquet file with exactly these columns."""
    name = DESCRIPTIONS if row is DescribedUnit else SCORES
    table = _table(content, schema, name)
    columns = [_values(table.column(field.name)) for field in schema]
    for values in zip(*columns, strict=True):
        yield row(*values)


def _values(column: pa.ChunkedArray) -> list[Any]:
    import pyarrow as pa

    values: list[Any] = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            # One string object per text: `to_pylist` would make one per row.
            texts = chunk.dictionary.to_pylist()
            values += [None if number is None else texts[number] for number in chunk.indices.to_pylist()]
        else:
            values += chunk.to_pylist()
    return values


def _table(content: bytes, schema: pa.Schema, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    texts = [field.name for field in schema if field.type == pa.string()]
    try:
        file = pq.ParquetFile(io.BytesIO(content), read_dictionary=texts)
        _check_layout(file, schema, name)
        table = file.read()
        table.validate(full=True)  # texts that are not UTF-8, indices beyond the dictionary
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: a missing column
        raise InputError(f"{name}: not a Parquet file, or damaged: {error}") from error
    for text in texts:
        for chunk in table.column(text).chunks:
            # Each text is stored once, so its length is checked before it is repeated.
            longest = (
                pc.call_function("max", [pc.call_function("utf8_length", [chunk.dictionary])]).as_py()
                or 0
            )
            if longest > MOST_TEXT:
                raise InputError(
                    f"{name}, column {text!r}: a text of {longest:,} characters; at most {MOST_TEXT:,}"
                )
    return table


def _check_layout(file: pq.ParquetFile, schema: pa.Schema, name: str) -> None:
    import pyarrow as pa

    metadata = file.metadata
    if metadata.num_rows > MOST_ROWS:
        raise InputError(f"{name}: {metadata.num_rows:,} rows; at most {MOST_ROWS:,}")
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if size > MOST_BYTES:
        raise InputError(f"{name} unpacks to {size:,} bytes, more than {MOST_BYTES:,}")
    types = {
        field.name: field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        for field in file.schema_arrow
    }
    for field in schema:
        if types.get(field.name) != field.type:
            raise InputError(
                f"{name}: column {field.name!r} must be {field.type}, not {types.get(field.name)}"
            )
    if len(types) != len(schema):
        raise InputError(f"{name}: columns {sorted(set(types) - set(schema.names))} are not known")
