"""Leaderboards: boards, ranks, duplicates, baselines, mean ranks, and bytes that no order changes."""

import csv
import io
import json
import math
import re
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from leaderboards import BAD, GOOD, bundle

from dissectbench.harness.errors import InputError
from dissectbench.harness.scores import MetricInfo
from dissectbench.results.leaderboard import build, read_bundle
from dissectbench.results.leaderboard.bundle import ProbingSetInfo, ReferencesInfo, TargetInfo
from dissectbench.results.leaderboard.formats import markdown, to_csv, to_json
from dissectbench.results.leaderboard.sources import short_names
from dissectbench.results.leaderboard.writing import write_leaderboard


def entry(leaderboard, label, board=0) -> Any:
    return next(entry for entry in leaderboard.boards[board].entries if entry.label == label)


def test_methods_of_two_runs_share_a_board_and_are_ranked():
    leaderboard = build([bundle({"good": GOOD}), bundle({"bad": BAD}, source="b.zip")])
    [board] = leaderboard.boards
    assert [e.label for e in board.entries] == ["good", "bad", "constant: it"]
    good, bad = entry(leaderboard, "good").cells["cosine"], entry(leaderboard, "bad").cells["cosine"]
    assert (str(good.rank), good.rank.group) == ("1", "a")
    assert (str(bad.rank), bad.rank.group) == ("2", "b")
    assert good.estimate.mean == pytest.approx(np.mean(GOOD))
    assert entry(leaderboard, "constant: it").cells["cosine"].rank is None


def test_methods_that_do_not_differ_share_ranks_and_a_letter():
    near = [value + 0.001 * (-1) ** unit for unit, value in enumerate(GOOD)]
    leaderboard = build([bundle({"one": GOOD, "two": near})])
    assert {str(entry(leaderboard, name).cells["cosine"].rank) for name in ("one", "two")} == {"1-2"}
    assert (leaderboard.boards[0].detectable["cosine"] or 0) > 0


def test_for_a_distance_the_lower_is_better():
    lower = MetricInfo(higher_is_better=False)
    leaderboard = build([bundle({"good": GOOD, "bad": BAD}, metric_info=lower)])
    assert str(entry(leaderboard, "bad").cells["cosine"].rank) == "1"
    assert leaderboard.boards[0].entries[0].label == "bad"


def test_only_methods_with_equal_coverage_are_ranked():
    leaderboard = build([bundle({"one": GOOD, "two": BAD, "three": [None, *GOOD[1:]]})])
    cell = entry(leaderboard, "three").cells["cosine"]
    assert cell.rank is None
    assert cell.unranked == "scored on other units than the ranked methods"
    assert entry(leaderboard, "one").cells["cosine"].rank.worst == 1
    assert entry(leaderboard, "three").coverage.dead == 1


@pytest.mark.parametrize(
    "other",
    [
        {"target": TargetInfo("net", "other weights")},
        {"probing_set": ProbingSetInfo("photos", "other photos", 50)},
        {"probing_set": ProbingSetInfo("photos", "hash of photos", 50, skipped=1)},
        {"references": ReferencesInfo("names", "other", "fc", {u: ["x"] for u in range(8)})},
    ],
)
def test_other_inputs_are_another_board(other):
    leaderboard = build([bundle({"good": GOOD}), bundle({"bad": BAD}, source="b.zip", **other)])
    assert len(leaderboard.boards) == 2


def test_duplicates_are_named_with_both_files_and_count_once():
    first = bundle({"good": GOOD, "bad": BAD}, source="runs/first", ended="2026-01-01")
    second = bundle({"good": BAD}, source="runs/second")
    leaderboard = build([second, first])
    labels = [e.label for e in leaderboard.boards[0].entries]
    assert labels == ["good", "bad", "good [second]", "constant: it"]
    duplicate = entry(leaderboard, "good [second]").cells["cosine"]
    assert (duplicate.rank, duplicate.unranked) == (None, "duplicate of first")
    assert entry(leaderboard, "bad").cells["cosine"].rank.best == 2
    [note] = leaderboard.duplicates
    assert "first" in note
    assert "second" in note
    assert note in markdown(leaderboard)


def test_a_method_with_two_settings_is_labelled_by_what_differs():
    bundles = [bundle({"m": GOOD}), bundle({"m": BAD}, source="b.zip", setting=2)]
    leaderboard = build(bundles, baseline="m (setting=2)")
    labels = [e.label for e in leaderboard.boards[0].entries if not e.control]
    assert labels == ["m (setting=1)", "m (setting=2)"]
    with pytest.raises(InputError, match=r"several settings\n.*m \(setting=1\), m \(setting=2\)"):
        build(bundles, baseline="m")


def test_settings_that_are_too_long_are_labelled_by_a_hash():
    bundles = [bundle({"m": GOOD}, setting=s * 70, source=f"{s}.zip") for s in ("a", "b")]
    labels = [e.label for e in build(bundles).boards[0].entries if not e.control]
    assert all(re.fullmatch(r"m \([0-9a-f]{8}\)", label) for label in labels)
    assert len(set(labels)) == 2


def test_one_metric_of_two_definitions_has_two_columns():
    other = bundle({"b": BAD}, source="b.zip", metric_info=MetricInfo(identity={"weights": 2}))
    leaderboard = build([bundle({"a": GOOD}), other])
    assert len(leaderboard.boards[0].metrics) == 2
    cells = entry(leaderboard, "a").cells.values()
    assert sorted(str(cell.unranked) for cell in cells) == [
        "not computed",
        "the methods were scored on different units",
    ]


def test_the_difference_to_a_baseline_is_paired_and_corrected():
    leaderboard = build([bundle({"good": GOOD, "bad": BAD, "base": BAD[::-1]})], baseline="base")
    difference = entry(leaderboard, "good").cells["cosine"].difference
    assert difference.estimate.mean == pytest.approx(np.mean(GOOD) - np.mean(BAD))
    assert difference.p_value == pytest.approx(2 * 2 / 2**8)  # two sign patterns of 256, Holm of two
    assert entry(leaderboard, "base").cells["cosine"].difference is None
    with pytest.raises(InputError, match="no method is named 'bse'"):
        build([bundle({"good": GOOD})], baseline="bse")


def test_across_targets_only_common_methods_have_a_mean_rank():
    one = bundle({"good": GOOD, "bad": BAD, "extra": GOOD}, net="one")
    two = bundle({"good": BAD, "bad": GOOD}, net="two", source="b.zip")
    three = bundle({"good": GOOD, "bad": BAD}, net="three", source="c.zip")
    [across] = build([one, two, three]).across
    assert across.targets == ["one", "three", "two"]
    assert across.left_out == ["extra"]
    assert [row.label for row in across.rows] == ["good", "bad"]
    assert across.rows[0].rank.mean == pytest.approx(4 / 3)
    assert (across.rows[0].rank.low or 9) <= 4 / 3 <= (across.rows[0].rank.high or 0)
    assert build([one]).across == []


def test_other_texts_under_the_same_references_are_refused():
    references = ReferencesInfo("names", "hash of names", "fc", {u: ["x"] for u in range(8)})
    with pytest.raises(
        InputError, match=r"have different texts for unit 0 under the same references names"
    ):
        build([bundle({"a": GOOD}), bundle({"b": BAD}, source="b.zip", references=references)])


def test_no_order_of_the_inputs_changes_a_byte(tmp_path, repository):
    bundles = [
        bundle({"good": GOOD, "bad": BAD}, source="x/a.zip"),
        bundle({"good": BAD}, source="y/a.zip"),
        bundle({"other": GOOD}, source="c.zip", net="net 2"),
        read_bundle(repository / "tests/fixtures/bundle_schema_1.zip"),
    ]
    written = set()
    for number, order in enumerate(permutations(bundles)):
        if number % 5 == 0:
            paths = write_leaderboard(build(order, n_resamples=200), tmp_path / str(number))
            written.add(tuple(path.read_bytes() for path in paths))
    assert len(written) == 1


def test_csv_has_one_row_per_entry_and_metric_with_full_numbers():
    rows = list(
        csv.DictReader(io.StringIO(to_csv(build([bundle({"good": GOOD, "=bad": BAD})], baseline="good"))))
    )
    assert [row["label"] for row in rows] == ["good", "'=bad", "constant: it"]
    assert float(rows[0]["mean"]) == math.fsum(GOOD) / len(GOOD)
    assert (rows[0]["rank_best"], rows[1]["rank_worst"], rows[1]["group"]) == ("1", "2", "b")
    assert float(rows[1]["difference"]) == pytest.approx(np.mean(BAD) - np.mean(GOOD))


def test_json_has_everything_and_no_nan(repository):
    leaderboard = build([read_bundle(repository / "tests/fixtures/bundle_schema_1.zip")])
    content = json.loads(json.dumps(to_json(leaderboard), allow_nan=False))
    assert [board["layer"] for board in content["boards"]] == ["fc", "layer4"]
    assert content["boards"][1]["metrics"] == {}
    [submission] = content["submissions"].values()
    assert submission["environment"]["packages"]["torch"]


def test_sources_have_the_shortest_names_that_differ():
    paths = [("/home/ada/runs/demo", "1"), ("/home/ada/old/demo", "2"), ("/tmp/b.zip", "3")]
    assert short_names(paths) == ["runs/demo", "old/demo", "b.zip"]
    assert short_names([("a/b", "1"), ("b", "2")]) == ["a/b", "b"]
    assert short_names([("a", "1"), ("a", "1")]) == ["a (1)", "a (2)"]


def test_without_bundles_there_is_no_leaderboard():
    with pytest.raises(InputError, match="at least one"):
        build([])
