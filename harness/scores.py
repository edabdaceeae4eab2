"""The score table: its columns, its checks and its file, and the properties of its metrics.

`metrics/` writes the table and `results/` reads it. In a run folder it is `scores.parquet`; what is the
same for all rows of a metric is stored once, in `metrics.json`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from .errors import InputError
from .files import atomic_path, read_json, write_json
from .records import Status

if TYPE_CHECKING:
    import pandas as pd

ScoreStatus = Status | Literal["missing"]
STATUSES: tuple[ScoreStatus, ...] = (*get_args(Status), "missing")
NO_REFERENCE = "no reference"
_CONSTANT, _SHUFFLED = "constant:", "shuffled:"


class ScoreRow(NamedTuple):
    """One row of the score table: the score of one unit by one method and metric.

    Attributes:
        target: name of the target.
        layer: name of the layer.
        unit: index of the unit.
        method: name of the method or control.
        control: whether the method is a control.
        metric: name of the metric.
        score: the score; NaN exactly if there is a reason.
        reason: why there is no score: the status, or "no reference"; else None.
        status: status of the description; "missing" if the method has none for this unit.
        prediction: the text that was scored; None without a text.
        references: the texts it was scored against; empty without any.
    """

    target: str
    layer: str
    unit: int
    method: str
    control: bool
    metric: str
    score: float
    reason: str | None
    status: ScoreStatus
    prediction: str | None
    references: tuple[str, ...]


COLUMNS = ScoreRow._fields


def constant_control(text: str) -> str:
    """Returns the name of the control that gives every unit the same text."""
    return f"{_CONSTANT} {text}"


def shuffled_control(method: str) -> str:
    """Returns the name of the control that gives each unit another unit's text of the same method."""
    return f"{_SHUFFLED} {method}"


def reserved_prefix(method: str) -> str | None:
    """Returns the prefix of controls that a method's name begins with, regardless of case, or None.

    A method with such a name would be mistaken for a control, or would have the name of one.
    """
    name = method.strip().lower()
    return next((prefix for prefix in (_CONSTANT, _SHUFFLED) if name.startswith(prefix)), None)


def check_method_name(method: str, source: str = "") -> str:
    """Returns the name of a method if no control could have it.

    Args:
        method: the name.
        source: where it comes from, for the message, such as "FILE, line 3: ".

    Raises:
        InputError: if it begins like the name of a control.
    """
    prefix = reserved_prefix(method)
    if prefix is not None:
        raise InputError(
            f"{source}the method's name {method!r} begins with {prefix!r}, reserved for controls",
            "give the method another name",
        )
    return method


def score_frame(rows: Iterable[ScoreRow]) -> pd.DataFrame:
    """Returns rows as a data frame with the columns `COLUMNS`."""
    import pandas as pd

    # Object columns hold None and tuples as they are; pandas' own string type would turn None into NaN.
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS), dtype=object)
    return frame.astype({"unit": np.int64, "control": np.bool_, "score": np.float64})


def score_rows(frame: pd.DataFrame) -> Iterator[ScoreRow]:
    """Yields the rows of a score table, in its order."""
    yield from map(ScoreRow._make, zip(*(frame[column] for column in COLUMNS), strict=True))


def write_scores(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Writes a score table as Parquet, atomically.

    Raises:
        InputError: if the file cannot be written.
    """
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_scores(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads what `write_scores` wrote and checks it.

    Raises:
        InputError: if the file is missing, not Parquet or not a score table; names file and column.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from ValueError
        raise InputError(f"cannot read {path}: {error}", "rerun the command that writes it") from error
    check_scores(frame, str(path))
    # Parquet returns pandas' strings, with NaN for an absent text, and arrays of references.
    strings = frame[["target", "layer", "method", "metric", "reason", "status", "prediction"]].astype(
        object
    )
    references = pd.Series(map(tuple, frame["references"]), frame.index, dtype=object)
    frame = frame.assign(**strings.where(strings.notna(), None), references=references)
    return frame.reindex(columns=list(COLUMNS))


def check_scores(frame: pd.DataFrame, source: str) -> None:
    """Checks that a data frame is a score table.

    Args:
        frame: the data frame.
        source: where it comes from, for messages.

    Raises:
        InputError: if a column is missing or has values it must not have, a score is missing without a
            reason, or a unit is scored twice; names `source` and the column.
    """
    from pandas.api import types

    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise InputError(
            f"{source} is not a score table: column {missing[0]!r} is missing",
            f"a score table has the columns {', '.join(COLUMNS)}",
        )
    kinds = {
        "unit": types.is_integer_dtype,
        "control": types.is_bool_dtype,
        "score": types.is_float_dtype,
    }
    for column, has_kind in kinds.items():
        if not has_kind(frame[column]):
            raise InputError(f"{source}, column {column!r}: wrong type {frame[column].dtype}")
    unscored = frame["score"].isna()
    wrong = {
        "unit": frame["unit"] < 0,
        **{name: frame[name].isna() for name in ("target", "layer", "method", "metric")},
        # One infinite score would make the mean of its column infinite or NaN.
        "score": np.isinf(frame["score"]),
        "status": ~frame["status"].isin(STATUSES),
        "reason": unscored != frame["reason"].notna(),
        "references": ~frame["references"].map(_is_list).astype(bool),
    }
    for column, rows in wrong.items():
        if rows.any():
            raise InputError(f"{source}, column {column!r}: {_problem(frame[rows].iloc[0], column)}")
    repeated = frame[frame.duplicated(["target", "layer", "unit", "method", "metric"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise InputError(
            f"{source}, column 'unit': {row.method}, {row.metric}: unit {row.unit} is scored twice"
        )


def _is_list(value: object) -> bool:
    return isinstance(value, (tuple, list, np.ndarray))


def _problem(row: pd.Series, column: str) -> str:
    where = f"{row.method}, {row.metric}, unit {row.unit}"
    if column == "reason":
        return f"{where}: no score and no reason" if np.isnan(row.score) else f"{where}: score and reason"
    if column == "status":
        return f"{where}: {row.status!r} is none of {', '.join(STATUSES)}"
    return f"{where}: invalid value {row[column]}"


def references_by_unit(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Returns the references of each unit of one layer, by index; empty for a unit without any."""
    by_unit = dict(zip(frame["unit"], frame["references"], strict=True))
    return [tuple(by_unit.get(unit, ())) for unit in range(max(by_unit, default=-1) + 1)]


@dataclass(frozen=True)
class MetricInfo:
    """What readers of scores need to know about a metric.

    Attributes:
        higher_is_better: whether a higher score is a better one; False for a distance.
        percent: whether tables show the scores in percent.
        identity: what the scores depend on; see `Metric.identity`.
        meaning: the definition in a few words, for the notes of tables; "" without one.
    """

    higher_is_better: bool = True
    percent: bool = False
    identity: Mapping[str, Any] = field(default_factory=dict)
    meaning: str = ""


def write_metrics(metrics: Mapping[str, MetricInfo], path: str | os.PathLike[str]) -> None:
    """Writes the properties of metrics, by name, as JSON, atomically.

    Raises:
        InputError: if the file cannot be written.
    """
    write_json(path, {name: asdict(info) for name, info in metrics.items()})


def read_metrics(path: str | os.PathLike[str]) -> dict[str, MetricInfo]:
    """Reads what `write_metrics` wrote.

    Raises:
        InputError: if the file is missing or is not such a file; names the metric and the property.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be an object with one entry per metric")
    expected = {"higher_is_better": bool, "percent": bool, "identity": dict}
    for name, properties in content.items():
        if not isinstance(properties, dict):
            raise InputError(f"{path}, metric {name!r}: must be an object")
        for key, kind in expected.items():
            if not isinstance(properties.get(key), kind):
                raise InputError(
                    f"{path}, metric {name!r}: {key!r} is missing or is not a {kind.__name__}"
                )
        # Absent in folders of earlier versions.
        meaning = properties.setdefault("meaning", "")
        if not isinstance(meaning, str):
            raise InputError(f"{path}, metric {name!r}: meaning must be text")
    return {
        name: MetricInfo(**{key: content[name][key] for key in (*expected, "meaning")})
        for name in content
    }
