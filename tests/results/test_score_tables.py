"""Tables of scores, comparisons and overviews: what they count and rank."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.records import Description, Spent, UnitId
from dissectbench.harness.scores import MetricInfo, ScoreRow, read_scores, score_frame, write_scores
from dissectbench.results.statistics import Summary, holm, paired_permutation, summary
from dissectbench.results.tables.overview import overview_table
from dissectbench.results.tables.scores import score_tables
from dissectbench.results.tables.table import Coverage

METRICS = {
    "clip_cosine": MetricInfo(),
    "other": MetricInfo(),
    "hit": MetricInfo(percent=True),
    "distance": MetricInfo(higher_is_better=False),
}


def scores(*groups, layer="fc", metric="clip_cosine"):
    """A score table from (method, {unit: score, or the reason why there is none})."""
    rows = []
    for method, by_unit in groups:
        control = method.startswith(("constant: ", "shuffled: "))
        for unit, value in by_unit.items():
            score, reason = (np.nan, value) if isinstance(value, str) else (value, None)
            status = "ok" if reason in (None, "no reference") else reason
            text = f"text {unit}" if status == "ok" else None
            result: Any = (float(score), reason, status, text, ())
            rows.append(ScoreRow("net", layer, unit, method, control, metric, *result))
    return score_frame(rows)


def units(*values):
    return dict(enumerate(values))


def tables_of(frame, **settings):
    return score_tables(frame, METRICS, **{"n_resamples": 200, **settings})


def table_of(frame, **settings):
    """The scores of the last layer."""
    return tables_of(frame, **settings)[-1]


def comparison_of(frame, **settings):
    """The comparison of the methods of the only layer."""
    comparison, _ = tables_of(frame, **settings)
    return comparison


def by_method(table):
    return {row.cells[0]: row for row in table.rows}


def test_each_method_has_its_coverage_distinct_texts_and_summary():
    frame = scores(
        (
            "a",
            units(
                *(0.1, 0.2, 0.4),
                *("below_threshold", "dead", "failed", "missing", "missing", "no reference"),
            ),
        ),
        ("constant: thing", units(0.0, 0.1, 0.2, 0.3, 0.1, 0.1, 0.2, 0.1, "no reference")),
    )
    table = table_of(frame)
    coverage, distinct, estimate = by_method(table)["a"].cells[1:]
    assert coverage == Coverage(3, 9, below_threshold=1, dead=1, failed=1, missing=2, other=1)
    assert distinct == 4
    assert estimate == summary([0.1, 0.2, 0.4, *[np.nan] * 6], n_resamples=200)
    assert [column.name for column in table.columns] == ["method", "scored", "distinct", "clip_cosine"]


def test_controls_come_last_and_are_never_best():
    frame = scores(
        ("constant: thing", units(0.9, 0.9)),
        ("b", units(0.1, 0.2)),
        ("shuffled: b", units(0.9, 0.9)),
        ("a", units(0.3, 0.2)),
    )
    table = table_of(frame)
    assert [row.cells[0] for row in table.rows] == ["b", "a", "constant: thing", "shuffled: b"]
    assert [row.control for row in table.rows] == [False, False, True, True]
    assert [bool(row.best) for row in table.rows] == [False, True, False, False]


def test_equal_means_are_both_best():
    table = table_of(scores(("a", units(-0.1, -0.2)), ("b", units(-0.2, -0.1))))
    assert [row.best for row in table.rows] == [{3}, {3}]


def test_a_single_method_is_not_marked_as_the_best():
    table = table_of(scores(("a", units(0.1, 0.2))))
    assert not table.rows[0].best
    assert not any("ranked" in note for note in table.notes)


def test_methods_scored_on_other_units_are_not_ranked_and_a_note_says_so():
    frame = scores(
        ("easy units only", units(0.9, 0.9, "failed")),
        ("b", units(0.1, 0.1, 0.1)),
        ("c", units(0, 0.1, 0.1)),
    )
    table = table_of(frame)
    assert {name: bool(row.best) for name, row in by_method(table).items()} == {
        "easy units only": False,
        "b": True,
        "c": False,
    }
    assert any("easy units only 2" in note and "not ranked" in note for note in table.notes)


@pytest.mark.parametrize(
    "second", [units("dead", 0.2, 0.3), units(0.5, 0.5, "dead"), units(0.1, "missing", "missing")]
)
def test_no_method_is_ranked_if_no_two_share_the_largest_set_of_units(second):
    table = table_of(scores(("a", units(0.1, 0.2, "dead")), ("b", second)))
    ranked = any(row.best for row in table.rows)
    assert ranked == (set(second) - {u for u, v in second.items() if v == "dead"} == {0, 1})
    assert any("no method is ranked" in note for note in table.notes) == (not ranked)


def test_every_missing_value_has_its_reason_below_the_table():
    first = scores(("a", units(0.5, "dead")), ("b", units("failed", "failed")))
    second = scores(("a", units(0.5, 0.7)), metric="other")
    second.loc[1, ["score", "reason"]] = [np.nan, "no reference"]
    table = table_of(pd.concat([first, second]))
    assert "a: clip_cosine, other: one score has no spread." in table.notes
    assert "b: clip_cosine: no unit has a score." in table.notes
    assert "b: other: this metric was not computed." in table.notes
    assert "a: described units without a score, by metric: other 1: no reference." in table.notes


def test_percent_depends_on_the_metric_not_on_the_scores():
    frame = pd.concat(
        [
            scores(("a", units(0.0, 0.5)), metric="hit"),
            scores(("a", units(0, 1, 1)), metric="clip_cosine"),
        ]
    )
    percent = {column.name: column.percent for column in table_of(frame).columns[3:]}
    assert percent == {"hit": True, "clip_cosine": False}


def test_the_lowest_mean_is_the_best_of_a_distance():
    groups = ("near", units(0.1, 0.2)), ("far", units(0.8, 0.9)), ("constant: x", units(0, 0))
    table = table_of(scores(*groups, metric="distance"))
    assert [bool(row.best) for row in table.rows] == [True, False, False]
    assert "lower is better: distance." in table.notes
    assert not any("lower" in note for note in table_of(scores(*groups)).notes)


def test_a_metric_without_properties_is_an_error():
    frame = scores(("a", units(0.1, 0.2)), metric="unknown")
    with pytest.raises(ValueError, match=r"no properties given of the metrics \['unknown'\]"):
        table_of(frame)


def test_every_layer_has_its_tables_and_the_footer_names_models_and_settings():
    frame = pd.concat(
        [
            scores(("a", units(0.1, 0.2)), ("b", units(0.3, 0.5))),
            scores(("a", units(0.1, 0.2)), layer="head"),
        ]
    )
    tables = tables_of(frame, models={"target": "net (seed 3)"}, seed=7, n_resamples=50)
    assert [table.name for table in tables] == ["comparisons_fc", "scores_fc", "scores_head"]
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
    table = comparison_of(frame, seed=3)
    expected = [paired_permutation(x, y, seed=3, n_resamples=200) for x, y in [(a, b), (a, c), (b, c)]]
    assert [row.cells[:3] for row in table.rows] == [
        ("clip_cosine", "a", "b"),
        ("clip_cosine", "a", "c"),
        ("clip_cosine", "b", "c"),
    ]
    assert [row.cells[4] for row in table.rows] == [test.difference for test in expected]
    assert [row.cells[7] for row in table.rows] == [test.p_value for test in expected]
    corrected = holm([test.p_value for test in expected if test.p_value is not None])
    assert [row.cells[8] for row in table.rows] == corrected


def test_a_comparison_uses_the_units_that_both_methods_have():
    frame = scores(("a", units(0.5, "dead", 0.7, "missing")), ("b", units(0.1, 0.2, 0.4, "failed")))
    [row] = comparison_of(frame, n_resamples=50).rows
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
    table = comparison_of(frame, n_resamples=50)
    assert [row.cells[7] is None for row in table.rows] == [False, True, True]
    assert table.rows[0].cells[7] == table.rows[0].cells[8]
    assert "clip_cosine, a, c: difference: no unit has a score." in table.notes


def test_a_table_read_from_a_file_gives_the_same_result(tmp_path):
    frame = scores(("a", units(0.1, 0.2, "dead")), ("b", units(0.3, "missing", "dead")))
    write_scores(frame, tmp_path / "scores.parquet")
    assert tables_of(read_scores(tmp_path / "scores.parquet")) == tables_of(frame)


def test_the_order_of_rows_changes_no_number():
    frame = scores(("a", units(0.1, 0.2, 0.7, "dead")), ("b", units(0.3, 0.1, 0.2, 0.3)))
    shuffled = frame.sort_values(["method", "unit"], ascending=[True, False])
    assert tables_of(shuffled) == tables_of(frame)


def test_a_frame_that_is_not_a_score_table_is_an_error():
    with pytest.raises(InputError, match="unit 0 is scored twice"):
        tables_of(pd.concat([scores(("a", units(0.1, 0.2)))] * 2))


def described(layer, unit, method, text, score=None):
    return Description(UnitId("net", layer, unit), method, text, score=score)


def undescribed(layer, unit, method, status, **evidence):
    return Description(UnitId("net", layer, unit), method, None, status, evidence=evidence)


def test_the_overview_counts_units_by_status():
    table = overview_table(
        [
            undescribed("layer1", 4, "nd", "failed", reason="no network"),
            described("layer1", 0, "nd", "red", 0.2),
            described("layer2", 0, "nd", "red", 0.5),
            undescribed("layer1", 1, "nd", "below_threshold", reason="no IoU above 0.04"),
            described("layer1", 2, "nd", "red", 0.4),
            undescribed("layer1", 3, "nd", "dead"),
            described("layer1", 0, "cd", "sky"),
            undescribed("layer1", 5, "nd", "failed", reason="no network"),
            described("layer1", 4, "nd", "sky", 0.3),  # replaces the failed record
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


def test_the_overview_adds_up_time_and_money_by_layer_and_method():
    records = [described(layer, unit, "nd", "red") for layer in ("layer1", "fc") for unit in (0, 1)]
    records.append(described("fc", 0, "cd", "sky"))
    spent = {(d.unit, d.method): Spent(1.5, 0.25 * d.unit.index) for d in records if d.method == "nd"}
    table = overview_table(records, spent=spent)
    assert [(c.name, c.kind) for c in table.columns[-2:]] == [("time", "seconds"), ("cost", "usd")]
    assert [row.cells[-2:] for row in table.rows] == [(3.0, 0.25), (3.0, 0.25), (None, None)]


def test_the_overview_has_no_column_for_a_cost_that_is_unknown_or_zero():
    records = [described("fc", 0, "nd", "red")]
    names = [column.name for column in overview_table(records).columns]
    free = overview_table(records, spent={(records[0].unit, "nd"): Spent(2.0)})
    assert [column.name for column in free.columns] == [*names, "time"]
    assert overview_table([], spent={}).rows == ()


def test_an_overview_without_records_is_empty_and_one_of_two_targets_an_error():
    assert overview_table([]).rows == ()
    other = Description(UnitId("other", "fc", 0), "nd", "red")
    with pytest.raises(ValueError, match="shows one target"):
        overview_table([described("fc", 0, "nd", "red"), other])


def test_the_notes_say_what_columns_metrics_and_controls_are():
    properties = {"clip_cosine": MetricInfo(meaning="cosine of texts"), "hit": MetricInfo(percent=True)}
    frame = pd.concat(
        [
            scores(("a", units(0.5, 0.25)), ("shuffled: a", units(0.1, 0.2))),
            scores(("a", units(1.0, 0.0)), ("shuffled: a", units(0.0, 0.0)), metric="hit"),
        ]
    )
    notes = score_tables(frame, properties)[-1].notes
    assert "clip_cosine: cosine of texts." in notes
    assert not any(note.startswith("hit:") for note in notes)
    assert any(note.startswith("scored: units with a score") for note in notes)
    assert any("are controls" in note for note in notes)
    alone = score_tables(scores(("a", units(0.5, 0.25))), properties)[-1].notes
    assert not any("are controls" in note for note in alone)


def test_comparisons_have_effect_sizes_and_detectable_differences():
    frame = scores(("a", units(0.5, 0.25, 1.0)), ("b", units(0.25, 0.25, 0.5)))
    (table, _) = score_tables(frame, METRICS)
    names = [column.name for column in table.columns]
    row = dict(zip(names, table.rows[0].cells, strict=True))
    differences = np.array([0.25, 0.0, 0.5])
    assert row["d"] == pytest.approx(differences.mean() / differences.std(ddof=1))
    # Student's quantiles with two degrees of freedom: 4.3027 at 0.975, 1.0607 at 0.8.
    assert row["detectable"] == pytest.approx(
        (4.3027 + 1.0607) * differences.std(ddof=1) / 3**0.5, rel=1e-3
    )
