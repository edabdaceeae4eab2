"""Several runs by one command: combinations, names, failures."""

import json
import os
import subprocess
import sys

import pytest

from dissectbench.harness.cli import main
from dissectbench.harness.errors import InputError
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.sweeps import Combination, expand

SMALL = [
    *("probe.images=60", "layers=[fc]", "units=2", "device=cpu", "table.resamples=50"),
    *("method=[network_dissection]", "metric=[synonym_accuracy]"),
]


def test_every_combination_is_run_the_last_setting_varies_fastest():
    assert expand(["units=5", "seed=0,1", "layers=[a,b],[c]"]) == [
        Combination(("units=5", "seed=0", "layers=[a,b]"), "seed=0-layers=a_b"),
        Combination(("units=5", "seed=0", "layers=[c]"), "seed=0-layers=c"),
        Combination(("units=5", "seed=1", "layers=[a,b]"), "seed=1-layers=a_b"),
        Combination(("units=5", "seed=1", "layers=[c]"), "seed=1-layers=c"),
    ]


def test_values_that_the_default_name_contains_are_not_repeated():
    assert [c.suffix for c in expand(["target=choice(resnet18,resnet50)"])] == ["", ""]
    named = expand(["name=mine", "target=resnet18,resnet50"])
    assert [c.suffix for c in named] == ["target=resnet18", "target=resnet50"]
    assert [c.suffix for c in expand(["seed=range(0,2)"])] == ["seed=0", "seed=1"]
    assert expand(["seed=3"]) == [Combination(("seed=3",), "")]


@pytest.mark.parametrize("override", ["name=a,b", "seed=interval(0,1)", "seed", "a=[b"])
def test_what_cannot_be_swept_is_refused(override):
    with pytest.raises(InputError):
        expand([override])


def test_a_run_whose_output_nobody_reads_does_its_work(tmp_path):
    """The reader closes the pipe before the plan is printed, as `head -0` does."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dissectbench.harness", "run", "name=unread", *SMALL]
    environment = {**os.environ, "DISSECTBENCH_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        command,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert FinishedRun(tmp_path / "runs" / "unread").status == "finished"
    assert "Traceback" not in done.stderr


def test_a_sweep_runs_all_and_a_run_that_cannot_start_ends_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    settings = ["run", "--multirun", "--json", "seed=0,1", "final_layer=fc,fcc", *SMALL]
    assert main(settings) == 2
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert [run["run"].rpartition("/")[2] for run in content["runs"]] == [
        f"tinyworld-resnet-tinyworld-seed={seed}-final_layer=fc" for seed in (0, 1)
    ]
    assert content["failed"] == 2
    assert (tmp_path / content["leaderboard"]).read_text().startswith("<!DOCTYPE html>")
    assert printed.err.count("final_layer=fcc is not among the layers") == 2
    run = FinishedRun(content["runs"][1]["run"])
    assert run.status == "finished"
    assert run.settings.seed == 1
    assert run.settings.name == run.name

    spent = (run.path / "spent.jsonl").read_bytes()
    assert main(["run", "--multirun", "seed=0,1", "final_layer=fc,fcc", *SMALL]) == 2
    assert (run.path / "spent.jsonl").read_bytes() == spent
    assert "2 of 4 runs failed" in capsys.readouterr().out
