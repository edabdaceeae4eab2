"""A run folder is read in every state, and says which state that is."""

import csv
import io
import json

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.records import Description, Spent, UnitId
from dissectbench.harness.run_folder import RunFolder, Selection
from dissectbench.results.tables.render import to_csv
from dissectbench.results.tables.run_tables import run_tables


def record(layer: str, index: int, text: str = "a boat", method: str = "words") -> Description:
    return Description(UnitId("net", layer, index), method, text, seconds=0.5, cost_usd=0.01)


@pytest.fixture
def folder(tmp_path):
    """A run that was extended, and whose last command selected a part of it, layer b first."""
    with RunFolder(tmp_path / "run") as opened, opened.tracked():
        opened.bind({"seed": 0})
        opened.write_settings(
            "seed: 3\ntable: {resamples: 10}\n",
            Selection("net", {"b": [0], "a": [1, 2]}, ["words"]),
            "cpu",
            {},
        )
        for one in (
            record("a", 2, "old"),
            record("a", 2, "new"),
            record("a", 1),
            record("b", 0),
            record("b", 7),
            record("a", 1, method="other"),
        ):
            opened.journal.append(one)
        opened.finish(failed_units=0)
    return tmp_path / "run"


def test_records_are_those_of_the_last_selection_in_its_order(folder):
    run = FinishedRun(folder)
    places = [(d.method, d.unit.layer, d.unit.index, d.text) for d in run.records]
    assert places == [("words", "b", 0, "a boat"), ("words", "a", 1, "a boat"), ("words", "a", 2, "new")]
    assert len(run.all_records) == 5


def test_settings_times_and_cost_are_read(folder):
    run = FinishedRun(folder)
    assert (run.status, run.details.failed_units, run.settings.seed) == ("finished", 0, 3)
    assert run.spent[UnitId("net", "a", 2), "words"] == Spent(1.0, 0.02)
    assert run.scores is None
    assert run.identity == {"seed": 0}
    assert run.environment["device"] == "cpu"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "was interrupted"),
        (InputError("the disk is full"), "failed: the disk is full"),
    ],
)
def test_an_unfinished_run_can_be_read_and_says_how_it_ended(folder, error, message):
    with pytest.raises(type(error)), RunFolder(folder) as opened, opened.tracked():
        raise error
    run = FinishedRun(folder)
    assert len(run.records) == 3
    with pytest.raises(InputError, match=message):
        run.require_finished()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not the folder of a run"):
        FinishedRun(tmp_path)


def test_a_run_of_another_version_is_refused(folder):
    content = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(InputError, match="format 99, this version reads format 1"):
        FinishedRun(folder)


def test_a_damaged_score_table_is_refused_with_its_path(folder):
    (folder / "scores.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"cannot read .*scores\.parquet"):
        FinishedRun(folder).scores  # noqa: B018


def test_a_run_folder_of_an_earlier_version_is_read(repository):
    """tests/fixtures/run_format_1 is frozen: a change that cannot read it needs a new format number."""
    run = FinishedRun(repository / "tests" / "fixtures" / "run_format_1").require_finished()
    assert run.selection is not None
    assert list(run.selection.units) == ["layer4", "fc"]
    assert [(d.method, d.unit.layer, d.status) for d in run.records][::3] == [
        ("network_dissection", "layer4", "below_threshold"),
        ("network_dissection", "fc", "ok"),
        ("clip_dissect", "layer4", "ok"),
        ("clip_dissect", "fc", "ok"),
    ]
    assert run.scores is not None
    assert len(run.scores) == 3 * 5
    assert set(run.metrics) == set(run.scores.metric) == {"synonym_accuracy"}
    assert all(run.spent[d.unit, d.method].seconds > 0 for d in run.records)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_tables_of_a_frozen_run_are_those_it_was_stored_with(repository):
    run = FinishedRun(repository / "tests" / "fixtures" / "run_format_1")
    tables = run_tables(run)
    assert [table.name for table in tables] == [
        "descriptions",
        "examples_fc",
        "comparisons_fc",
        "scores_fc",
    ]
    for table in tables:
        stored = rows_of((run.path / "tables" / f"{table.name}.csv").read_text(encoding="utf-8"))
        # Later versions may add columns; those that were stored keep their names and values.
        rows = rows_of(to_csv(table))
        assert [{name: row[name] for name in stored[0]} for row in rows] == stored
