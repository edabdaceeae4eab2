"""A run folder belongs to one process and to one setting."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.files import read_json
from dissectbench.harness.records import Description, UnitId
from dissectbench.harness.run_folder import OtherSettingsError, RunFolder, Selection

HOLD = """
import sys, time
from dissectbench.harness.run_folder import RunFolder
with RunFolder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_write_one_run_and_a_killed_one_leaves_no_lock(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another process is working"):
        RunFolder(tmp_path / "run")
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    time.sleep(0.1)
    RunFolder(tmp_path / "run").close()


def test_other_settings_under_the_same_name_are_refused_with_the_difference(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.bind({"seed": 0, "method/words": {"top": 5, "encoder": {"weights": "abc"}}})
    with RunFolder(tmp_path / "run") as folder:
        folder.bind({"method/words": {"top": 5, "encoder": {"weights": "abc"}}})
        with pytest.raises(InputError, match=r"method/words\.encoder\.weights was abc, now xyz"):
            folder.bind({"method/words": {"top": 5, "encoder": {"weights": "xyz"}}})


def test_a_run_may_be_extended(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.bind({"layer/fc": "abc"})
        folder.bind({"layer/layer4": "def"})
    assert read_json(tmp_path / "run" / "identity.json") == {"layer/fc": "abc", "layer/layer4": "def"}


SELECTION = Selection("net", {"fc": [0, 2]}, ["words"], "fc")


def test_settings_selection_and_environment_are_written(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.write_settings("seed: 0\n", SELECTION, "cpu", {"seed": 0})
    environment = read_json(tmp_path / "run" / "environment.json")
    assert environment["packages"]["torch"]
    assert environment["device"] == "cpu"
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 0\n"
    assert Selection(**read_json(tmp_path / "run" / "selection.json")) == SELECTION


def test_a_selection_chooses_records_in_the_order_of_methods_layers_and_units():
    selection = Selection("net", {"b": [1, 0], "a": [2]}, ["y", "x"])
    units = [("y", "b", 1), ("y", "b", 0), ("y", "a", 2), ("x", "b", 1), ("x", "b", 0), ("x", "a", 2)]
    assert selection.keys() == [(UnitId("net", layer, index), method) for method, layer, index in units]
    records = {
        (UnitId("net", layer, index), method): Description(UnitId("net", layer, index), method, "words")
        for layer, index, method in [("a", 2, "y"), ("b", 0, "x"), ("b", 0, "z"), ("c", 0, "x")]
    }
    chosen = [(d.method, d.unit.layer, d.unit.index) for d in selection.choose(records)]
    assert chosen == [("y", "a", 2), ("x", "b", 0)]


def status(path):
    content = read_json(path / "run" / "status.json")
    return content["state"], content["error"], content["failed_units"]


def test_the_status_follows_the_command(tmp_path):
    with RunFolder(tmp_path / "run") as folder, folder.tracked():
        assert status(tmp_path) == ("started", None, None)
        folder.finish(failed_units=2)
    assert status(tmp_path) == ("finished", None, 2)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), ("interrupted", None, None)),
        (
            InputError("no such file", "check the path"),
            ("failed", "no such file\n  check the path", None),
        ),
        (RuntimeError("odd"), ("failed", "RuntimeError: odd", None)),
    ],
)
def test_an_error_is_written_to_the_status_and_raised(tmp_path, error, expected):
    with pytest.raises(type(error)), RunFolder(tmp_path / "run") as folder, folder.tracked():
        raise error
    assert status(tmp_path) == expected


def test_a_killed_process_leaves_the_status_started(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from dissectbench.harness.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1]) as folder, folder.tracked():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert status(tmp_path) == ("started", None, None)


def test_a_command_with_other_settings_leaves_the_finished_run_as_it_was(tmp_path):
    with RunFolder(tmp_path / "run") as folder, folder.tracked():
        folder.bind({"seed": 0})
        folder.finish(failed_units=0)
    before = (tmp_path / "run" / "status.json").read_bytes()
    with pytest.raises(OtherSettingsError), RunFolder(tmp_path / "run") as folder, folder.tracked():
        folder.bind({"seed": 1})
    assert (tmp_path / "run" / "status.json").read_bytes() == before
    assert read_json(tmp_path / "run" / "identity.json") == {"seed": 0}


def test_a_damaged_record_does_not_keep_the_folder_locked(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "descriptions.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="line 1"):
        RunFolder(tmp_path / "run")
    (tmp_path / "run" / "descriptions.jsonl").unlink()
    RunFolder(tmp_path / "run").close()
