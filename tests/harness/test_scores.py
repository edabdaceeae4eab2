"""The score table and the properties of metrics: written to files, read back, and checked."""

import json

import numpy as np
import pandas as pd
import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.scores import (
    COLUMNS,
    MetricInfo,
    ScoreRow,
    read_metrics,
    read_scores,
    references_by_unit,
    score_frame,
    score_rows,
    write_metrics,
    write_scores,
)

ROWS = [
    ScoreRow("net", "fc", 0, "a", False, "cos", 0.5, None, "ok", "red", ("red", "crimson")),
    ScoreRow("net", "fc", 2, "a", False, "cos", np.nan, "dead", "dead", None, ("blue",)),
    ScoreRow("net", "fc", 3, "a", False, "cos", np.nan, "no reference", "ok", "sky", ()),
    ScoreRow("net", "fc", 0, "constant: x", True, "cos", 0.25, None, "ok", "x", ("red", "crimson")),
]


def test_rows_are_the_same_after_a_file(tmp_path):
    write_scores(score_frame(ROWS), tmp_path / "scores.parquet")
    frame = read_scores(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(frame, score_frame(ROWS))
    rows = list(score_rows(frame))
    assert [row._replace(score=0) for row in rows] == [row._replace(score=0) for row in ROWS]
    assert list(frame.columns) == list(COLUMNS)


def test_a_table_without_rows_is_read_back(tmp_path):
    write_scores(score_frame([]), tmp_path / "scores.parquet")
    assert len(read_scores(tmp_path / "scores.parquet")) == 0


def test_references_are_listed_by_unit():
    assert references_by_unit(score_frame(ROWS)) == [("red", "crimson"), (), ("blue",), ()]
    assert references_by_unit(score_frame([])) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(columns="status"), "is not a score table: column 'status' is missing"),
        (lambda f: f.assign(unit=f.unit.astype(str)), "column 'unit': wrong type "),
        (lambda f: f.assign(unit=-1), "column 'unit': a, cos, unit -1: invalid value -1"),
        (lambda f: f.assign(control="no"), "column 'control': wrong type "),
        (lambda f: f.assign(score="high"), "column 'score': wrong type "),
        (
            lambda f: f.assign(score=np.inf, reason=None),
            "column 'score': a, cos, unit 0: invalid value inf",
        ),
        (lambda f: f.assign(score=np.nan), "column 'reason': a, cos, unit 0: no score and no reason"),
        (lambda f: f.assign(score=1.0), "column 'reason': a, cos, unit 2: score and reason"),
        (lambda f: f.assign(status="alive"), "column 'status': a, cos, unit 0: 'alive' is none of ok, "),
        (lambda f: f.assign(metric=None), "column 'metric': .*: invalid value"),
        (lambda f: f.assign(references="red"), "column 'references': .*: invalid value red"),
        (lambda f: pd.concat([f, f]), "column 'unit': a, cos: unit 0 is scored twice"),
    ],
)
def test_a_file_that_is_not_a_score_table_is_an_error_that_names_the_column(tmp_path, spoil, message):
    path = tmp_path / "scores.parquet"
    write_scores(spoil(score_frame(ROWS)), path)
    with pytest.raises(InputError, match=f"scores.parquet.*{message}"):
        read_scores(path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*scores.parquet"):
        read_scores(tmp_path / "scores.parquet")
    (tmp_path / "scores.parquet").write_text("target,layer\n")
    with pytest.raises(InputError, match=r"cannot read .*scores.parquet"):
        read_scores(tmp_path / "scores.parquet")


def test_properties_of_metrics_are_the_same_after_a_file(tmp_path):
    metrics = {
        "exact_accuracy": MetricInfo(percent=True, identity={"normalisation": "NFKC"}),
        "distance": MetricInfo(higher_is_better=False),
    }
    write_metrics(metrics, tmp_path / "metrics.json")
    assert read_metrics(tmp_path / "metrics.json") == metrics


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be an object with one entry per metric"),
        ({"cos": 1}, "metric 'cos': must be an object"),
        ({"cos": {"percent": False, "identity": {}}}, "metric 'cos': 'higher_is_better' is missing"),
        (
            {"cos": {"higher_is_better": True, "percent": "no", "identity": {}}},
            "metric 'cos': 'percent' is missing or is not a bool",
        ),
    ],
)
def test_a_file_without_the_properties_of_metrics_is_an_error(tmp_path, content, message):
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"metrics.json.*{message}"):
        read_metrics(tmp_path / "metrics.json")
