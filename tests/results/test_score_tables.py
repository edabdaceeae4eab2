"""Leaderboards, comparisons and overviews: what they count, rank and refuse to rank."""

import numpy as np
import pandas as pd
import pytest

from dissectbench.harness.records import Description, UnitId
from dissectbench.results.statistics import Summary, holm, paired_permutation, summary
from dissectbench.results.tables.overview import overview
from dissectbench.results.tables.scores import score_tables
from dissectbench.results.tables.table import Coverage

COLUMNS = ["target", "layer", "unit", "method", "metric", "score", "reason", "status", "prediction"]


def scores(*groups, layer="fc", metric="clip_cos"):
    """Rows for (method, {unit: score, or the reason why there is none})."""
    rows = []
    for method, by_unit in groups:
        for unit, value in by_unit.items():
            there = not isinstance(value, str)
            status = "ok" if there or value == "no reference" else value
            text = f"text {unit}" if status == "ok" else None
            row = (value, None) if there else (np.nan, value)
            rows.append(("net", layer, unit, method, metric, *row, status, text))
    return pd.DataFrame(rows, columns=COLUMNS)


def units(*values):
    return dict(enumerate(values))


def leaderboard(frame, **settings):
    return score_tables(frame, n_resamples=200, **settings)[0]


def by_method(table):
    return {row.cells[0]: row for row in table.rows}


def test_each_method_has_its_coverage_distinct_texts_and_summary():
    frame = scores(
        ("a", units(0.1, 0.2, 0.4, "dead", "failed", "missing", "missing", "no reference")),
        ("constant: thing", units(0.0, 0.1, 0.2, 0.3, 0.1, 0.1, 0.2, "no reference")),
    )
    table = leaderboard(frame)
    coverage, distinct, estimate = by_method(table)["a"].cells[1:]
    assert coverage == Coverage(3, 8, dead=1, failed=1, missing=2, other=1)
    assert distinct == 4
    assert estimate == summary([0.1, 0.2, 0.4, *[np.nan] * 5], n_resamples=200)
    assert [column.name for column in table.columns] == ["method", "scored", "distinct", "clip_cos"]


def test_controls_come_last_and_are_never_best():
    frame = scores(
        ("constant: thing", units(0.9, 0.9)),
        ("b", units(0.1, 0.2)),
        ("shuffled: b", units(0.9, 0.9)),
        ("a", units(0.3, 0.2)),
    )
    table = leaderboard(frame)
    assert [row.cells[0] for row in table.rows] == ["b", "a", "constant: thing", "shuffled: b"]
    assert [row.control for row in table.rows] == [False, False, True, True]
    assert [bool(row.best) for row in table.rows] == [False, True, False, False]


def test_equal_means_are_both_best():
    table = leaderboard(scores(("a", units(-0.1, -0.2)), ("b", units(-0.2, -0.1))))
    assert [row.best for row in table.rows] == [{3}, {3}]


def test_a_method_alone_is_not_best_of_anything():
    table = leaderboard(scores(("a", units(0.1, 0.2))))
    assert not table.rows[0].best
    assert not any("ranked" in note for note in table.notes)


def test_methods_scored_on_other_units_are_not_ranked_and_a_note_says_so():
    frame = scores(
        ("easy units only", units(0.9, 0.9, "failed")),
        ("b", units(0.1, 0.1, 0.1)),
        ("c", units(0, 0.1, 0.1)),
    )
    table = leaderboard(frame)
    assert {name: bool(row.best) for name, row in by_method(table).items()} == {
        "easy units only": False,
        "b": True,
        "c": False,
    }
    assert any("easy units only 2" in note and "not ranked" in note for note in table.notes)


@pytest.mark.parametrize(
    "second", [units("dead", 0.2, 0.3), units(0.5, 0.5, "dead"), units(0.1, "missing", "missing")]
)
def test_nobody_is_ranked_where_no_two_methods_share_the_largest_unit_set(second):
    table = leaderboard(scores(("a", units(0.1, 0.2, "dead")), ("b", second)))
    ranked = any(row.best for row in table.rows)
    assert ranked == (set(second) - {u for u, v in second.items() if v == "dead"} == {0, 1})
    assert any("no method is ranked" in note for note in table.notes) == (not ranked)


def test_every_missing_value_has_its_reason_below_the_table():
    first = scores(("a", units(0.5, "dead")), ("b", units("failed", "failed")))
    second = scores(("a", units(0.5, 0.7)), metric="other")
    second.loc[1, ["score", "reason"]] = [np.nan, "no reference"]
    table = leaderboard(pd.concat([first, second]))
    assert "a: clip_cos, other: one score has no spread." in table.notes
    assert "b: clip_cos: no unit has a score." in table.notes
    assert "b: other: this metric was not computed." in table.notes
    assert "a: described units without a score, by metric: other 1: no reference." in table.notes


def test_hits_and_misses_are_shares_in_percent():
    frame = pd.concat(
        [scores(("a", units(0.0, 1.0, 1.0)), metric="hit"), scores(("a", units(0, 1, 0.5)))]
    )
    assert {c.name: c.percent for c in leaderboard(frame).columns[3:]} == {"hit": True, "clip_cos": False}


def test_every_layer_has_its_tables_and_the_footer_names_models_and_settings():
    frame = pd.concat(
        [
            scores(("a", units(0.1, 0.2)), ("b", units(0.3, 0.5))),
            scores(("a", units(0.1, 0.2)), layer="head"),
        ]
    )
    tables = score_tables(frame, models={"target": "net (seed 3)"}, seed=7, n_resamples=50)
    assert [table.name for table in tables] == ["scores_fc", "comparisons_fc", "scores_head"]
    for table in tables:
        assert table.footer == {"target": "net (seed 3)", "seed": "7", "resamples": "50"}


def test_comparisons_pair_methods_by_unit_not_by_row():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 30))
    frame = scores(
        ("a", units(*a)),
        ("b", dict(reversed(units(*b).items()))),
        ("c", units(*c)),
        ("shuffled: a", units(*a)),
    )
    table = score_tables(frame, seed=3, n_resamples=200)[1]
    expected = [paired_permutation(x, y, seed=3, n_resamples=200) for x, y in [(a, b), (a, c), (b, c)]]
    assert [row.cells[:3] for row in table.rows] == [
        ("clip_cos", "a", "b"),
        ("clip_cos", "a", "c"),
        ("clip_cos", "b", "c"),
    ]
    assert [row.cells[4] for row in table.rows] == [test.difference for test in expected]
    assert [row.cells[5] for row in table.rows] == [test.p_value for test in expected]
    corrected = holm([test.p_value for test in expected if test.p_value is not None])
    assert [row.cells[6] for row in table.rows] == corrected


def test_a_comparison_uses_the_units_that_both_methods_have():
    frame = scores(("a", units(0.5, "dead", 0.7, "missing")), ("b", units(0.1, 0.2, 0.4, "failed")))
    [row] = score_tables(frame, n_resamples=50)[1].rows
    difference = row.cells[4]
    assert isinstance(difference, Summary)
    assert row.cells[3] == difference.n == 2
    assert difference.mean == pytest.approx(0.35)
    assert difference.n_missing == 2


def test_methods_without_a_common_unit_are_not_compared_and_not_counted_in_the_correction():
    frame = scores(
        ("a", units(0.1, 0.2, "dead", "dead")),
        ("b", units(0.3, 0.5, "dead", "dead")),
        ("c", units("dead", "dead", 0.1, 0.1)),
    )
    table = score_tables(frame, n_resamples=50)[1]
    assert [row.cells[5] is None for row in table.rows] == [False, True, True]
    assert table.rows[0].cells[5] == table.rows[0].cells[6]
    assert "clip_cos, a, c: difference: no unit has a score." in table.notes


def test_a_table_read_from_a_file_gives_the_same_result(tmp_path):
    frame = scores(("a", units(0.1, 0.2, "dead")), ("b", units(0.3, "missing", "dead")))
    frame.to_parquet(tmp_path / "s.parquet")
    assert score_tables(pd.read_parquet(tmp_path / "s.parquet")) == score_tables(frame)


def test_the_order_of_rows_changes_no_number():
    frame = scores(("a", units(0.1, 0.2, 0.7, "dead")), ("b", units(0.3, 0.1, 0.2, 0.3)))
    shuffled = frame.sort_values(["method", "unit"], ascending=[True, False])
    assert score_tables(shuffled) == score_tables(frame)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(columns="status"), "lacks the columns \\['status'\\]"),
        (lambda f: pd.concat([f, f]), "a, clip_cos: unit 0 is scored twice"),
        (lambda f: f.assign(score=np.nan), "unit 0: no score and no reason"),
    ],
)
def test_a_score_table_that_is_not_one_is_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        score_tables(spoil(scores(("a", units(0.1, 0.2)))))


def described(layer, unit, method, text, score=None):
    return Description(UnitId("net", layer, unit), method, text, score=score)


def undescribed(layer, unit, method, status, **evidence):
    return Description(UnitId("net", layer, unit), method, None, status, evidence=evidence)


def test_the_overview_counts_what_was_described_and_why_the_rest_was_not():
    table = overview(
        [
            undescribed("layer1", 4, "nd", "failed", reason="no network"),
            described("layer1", 0, "nd", "red", 0.2),
            described("layer2", 0, "nd", "red", 0.5),
            described("layer1", 1, "nd", "-", 0.01),
            described("layer1", 2, "nd", "red", 0.4),
            undescribed("layer1", 3, "nd", "dead"),
            described("layer1", 0, "cd", "sky"),
            undescribed("layer1", 5, "nd", "failed", reason="no network"),
            described("layer1", 4, "nd", "sky", 0.3),  # tried again
        ],
        models={"target": "net"},
    )
    rows = [row.cells for row in table.rows]
    assert [cells[:8] for cells in rows] == [
        ("layer1", "nd", 6, 3, 1, 1, 1, 2),
        ("layer1", "cd", 1, 1, 0, 0, 0, 1),
        ("layer2", "nd", 1, 1, 0, 0, 0, 1),
    ]
    assert rows[0][8] == summary([0.2, 0.4, 0.3])
    assert "layer1, cd: own score: no unit has a score." in table.notes
    assert "layer1, nd: 1 failed: no network" in table.notes
    assert table.footer["target"] == "net"


def test_an_overview_of_nothing_is_empty_and_one_of_two_targets_is_refused():
    assert overview([]).rows == ()
    other = Description(UnitId("other", "fc", 0), "nd", "red")
    with pytest.raises(ValueError, match="one target"):
        overview([described("fc", 0, "nd", "red"), other])
