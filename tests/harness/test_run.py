"""A run from the command line on tinyworld, as a user runs it; interrupted, killed and resumed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

SMALL = [
    "probe.images=160",
    "layers=[layer3,fc]",
    "units=6",
    "table.resamples=200",
    "method.describe_and_dissect.synthetic_images.count=4",
    "metric=[tinyworld_clip_cosine]",
]
COMMAND = [sys.executable, "-m", "dissectbench.harness"]


@pytest.fixture(scope="session")
def tinyworld(tmp_path_factory):
    """The environment of the tests: tinyworld's images are rendered once, into a folder of their own."""
    return {**os.environ, "DISSECTBENCH_HOME": str(tmp_path_factory.mktemp("home"))}


def dissectbench(*arguments, env, cwd, check=True):
    done = subprocess.run(
        [*COMMAND, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def lines(path):
    return len(path.read_bytes().splitlines()) if path.exists() else 0


@pytest.fixture(scope="session")
def finished(tinyworld, tmp_path_factory):
    """An uninterrupted run: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    dissectbench("run", "name=warm", *SMALL, env=tinyworld, cwd=folder)
    done = dissectbench("run", "--runs", "again", "name=demo", *SMALL, env=tinyworld, cwd=folder)
    return folder / "again" / "demo", done.stdout


@pytest.mark.slow
def test_the_run_ends_with_its_table_and_all_its_files(finished):
    folder, output = finished
    assert "network_dissection" in output
    assert "clip_dissect" in output
    assert "describe_and_dissect" in output
    assert "milan" in output
    assert "shuffled: clip_dissect" in output
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "environment.json", "identity.json", "descriptions.jsonl"} <= names
    assert {"scores.parquet", "spent.jsonl", "tables", "status.json", "selection.json"} <= names
    records = [json.loads(line) for line in (folder / "descriptions.jsonl").read_text().splitlines()]
    assert len(records) == 4 * 2 * 6
    assert all(record["evidence"] for record in records if record["status"] == "ok")


@pytest.mark.slow
def test_scores_keep_a_row_per_unit_method_and_metric(finished):
    scores = pd.read_parquet(finished[0] / "scores.parquet")
    counts = scores.groupby(["method", "metric"]).size()
    assert set(counts) == {6}
    assert scores.loc[scores.score.isna(), "reason"].notna().all()


@pytest.mark.slow
def test_a_run_killed_ten_times_writes_the_same_bytes(finished, tinyworld, tmp_path):
    folder, _ = finished
    again = tmp_path / "runs" / "demo"
    generator = random.Random(0)
    kills = 0
    for described in sorted(generator.choices(range(4 * 2 * 6), k=10)):
        process = subprocess.Popen(
            [*COMMAND, "run", "name=demo", *SMALL],
            env=tinyworld,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and lines(again / "descriptions.jsonl") < described:
            time.sleep(0.05)
        try:
            process.wait(generator.uniform(0, 4))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 5
    dissectbench("run", "name=demo", *SMALL, env=tinyworld, cwd=tmp_path)
    assert (again / "descriptions.jsonl").read_bytes() == (folder / "descriptions.jsonl").read_bytes()
    pd.testing.assert_frame_equal(
        pd.read_parquet(again / "scores.parquet"), pd.read_parquet(folder / "scores.parquet")
    )


@pytest.mark.slow
def test_a_second_run_describes_nothing_again(finished, tinyworld):
    folder, _ = finished
    before = (folder / "spent.jsonl").read_bytes()
    dissectbench("run", "--runs", "again", "name=demo", *SMALL, env=tinyworld, cwd=folder.parent.parent)
    assert (folder / "spent.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_subset_of_units_gets_the_same_descriptions(finished, tinyworld, tmp_path):
    folder, _ = finished
    dissectbench(
        "run", "name=few", *SMALL, "units=3", "activations.batch_size=7", env=tinyworld, cwd=tmp_path
    )
    few = (tmp_path / "runs" / "few" / "descriptions.jsonl").read_text().splitlines()
    assert len(few) == 4 * 2 * 3
    assert set(few) <= set((folder / "descriptions.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_a_dry_run_prints_the_plan_and_writes_nothing(tinyworld, tmp_path):
    done = dissectbench("run", "--dry-run", "name=dry", *SMALL, env=tinyworld, cwd=tmp_path)
    assert "6 to do" in done.stdout
    assert "160 images" in done.stdout
    assert not (tmp_path / "runs").exists()
