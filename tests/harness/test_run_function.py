"""A run from Python and from the command line: one flow, the same results."""

import json

import pytest

from dissectbench.harness.cli import main
from dissectbench.harness.config import compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.progress import Progress
from dissectbench.harness.run import run

SMALL = [
    *("name=small", "probe.images=120", "layers=[layer4,fc]", "units=4", "device=cpu"),
    *("method=[clip_dissect]", "metric=[synonym_accuracy]", "table.resamples=100"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of one finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("runs")
        run(compose(SMALL), runs=folder)
        yield folder


def dissectbench(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def test_run_returns_the_finished_run_and_prints_nothing(runs, capfd):
    finished = run(compose(SMALL), runs=runs)
    assert capfd.readouterr() == ("", "")
    assert finished.status == "finished"
    assert [d.unit.layer for d in finished.records] == ["layer4"] * 4 + ["fc"] * 4
    assert finished.scores is not None
    assert set(finished.scores.metric) == {"synonym_accuracy"}
    assert (finished.path / "tables" / "scores_fc.md").exists()


def test_a_run_again_describes_nothing_again(runs):
    before = (runs / "small" / "spent.jsonl").read_bytes()
    run(compose(SMALL), runs=runs, progress=Progress("none"))
    assert (runs / "small" / "spent.jsonl").read_bytes() == before


@pytest.mark.parametrize("settings", [["units=2"], ["layers=[fc]"], ["final_layer=null"], []])
def test_run_and_table_print_the_same_however_much_the_folder_holds(runs, capsys, settings):
    _, printed = dissectbench(capsys, "run", "--runs", runs, *SMALL, *settings)
    code, again = dissectbench(capsys, "table", runs / "small")
    assert code == 0
    assert again.strip()
    assert again.strip() in printed


def test_without_a_final_layer_there_are_no_scores_of_an_earlier_command(runs):
    finished = run(compose([*SMALL, "final_layer=null"]), runs=runs)
    assert finished.scores is None
    assert run(compose(SMALL), runs=runs).scores is not None


def test_other_settings_are_refused_and_leave_the_run_as_it_was(runs):
    before = {path.name: path.read_bytes() for path in (runs / "small").glob("*.*")}
    with pytest.raises(InputError, match="made under other settings"):
        run(compose([*SMALL, "seed=1"]), runs=runs)
    assert {path.name: path.read_bytes() for path in (runs / "small").glob("*.*")} == before
    assert FinishedRun(runs / "small").status == "finished"


def test_invalid_input_is_written_to_the_status(runs):
    settings = compose([*SMALL, "name=broken", "table.control_text='-'"])
    with pytest.raises(InputError):
        run(settings, runs=runs)
    broken = FinishedRun(runs / "broken")
    assert broken.status == "failed"
    assert broken.details.error
    assert len(broken.records) == 8  # what was described before the error is kept


def test_the_tables_are_printed_as_json(runs, capsys):
    code, out = dissectbench(capsys, "table", runs / "small", "--json")
    assert code == 0
    tables = {table["name"]: table for table in json.loads(out)["tables"]}
    assert set(tables) == {"descriptions", "examples_fc", "scores_fc"}
    scores = tables["scores_fc"]["rows"]
    assert scores[0]["cells"]["scored"] == {
        **{"scored": 4, "units": 4, "dead": 0},
        **{name: 0 for name in scores[0]["cells"]["scored"] if name not in ("scored", "units")},
    }
    assert [row["control"] for row in scores] == [False, True, True]


def test_a_run_is_printed_as_json_alone(runs, capsys):
    code, out = dissectbench(capsys, "run", "--runs", runs, *SMALL, "--json")
    assert code == 0
    content = json.loads(out)
    assert content["status"] == "finished"
    assert content["run"] == str(runs / "small")
    assert content["tables"]


def test_runs_and_choices_are_listed_as_json(runs, capsys):
    _, out = dissectbench(capsys, "list", "runs", "--runs", runs, "--json")
    small = [row for row in json.loads(out) if row["name"] == "small"]
    assert [(row["layer"], row["units"]) for row in small] == [("layer4", {"ok": 4}), ("fc", {"ok": 4})]
    _, out = dissectbench(capsys, "list", "targets", "--json")
    assert "resnet50" in {row["target"] for row in json.loads(out)}
    _, out = dissectbench(capsys, "list", "--json")
    assert "layers" in {row["subject"] for row in json.loads(out)}


@pytest.mark.parametrize(("layout", "files"), [("clip_dissect", 1), ("milan", 1), ("dnd", 2)])
def test_a_run_is_exported_and_its_files_are_read_back(runs, capsys, tmp_path, layout, files):
    from dissectbench.results.importers.descriptions_csv import read_descriptions_csv

    code, out = dissectbench(
        capsys, "export", runs / "small", "--layout", layout, "--out", tmp_path, "--json"
    )
    assert code == 0
    exported = json.loads(out)["files"]
    assert len(exported) == files
    texts = {(d.unit.layer, d.unit.index): d.text for d in FinishedRun(runs / "small").records}
    for file in exported:
        assert (file["units"], file["left_out"]) == (8 // files, 0)
        for layer in ["layer4", "fc"] if files == 1 else [file["path"].rpartition("_")[2][:-4]]:
            rows = read_descriptions_csv(file["path"], layer=layer).rows
            assert len(rows) == 4
            assert all(row.text == texts[layer, row.unit] for row in rows)


def test_an_export_of_what_the_run_does_not_hold_is_refused(runs, capsys, tmp_path):
    assert main(["export", str(runs / "small"), "--layout", "dnd", "--layer", "layer9"]) == 2
    assert "layer9" in capsys.readouterr().err
    assert main(["export", str(runs / "small"), "--layout", "dnd", "--method", "milan"]) == 2
    assert "clip_dissect" in capsys.readouterr().err
