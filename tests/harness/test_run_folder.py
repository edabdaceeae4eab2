"""A run folder belongs to one process and to one setting."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.files import read_json
from dissectbench.harness.run_folder import RunFolder

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


def test_the_setting_is_written_down(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.describe_setting("seed: 0\n", "cpu", {"seed": 0})
    environment = read_json(tmp_path / "run" / "environment.json")
    assert environment["packages"]["torch"]
    assert environment["device"] == "cpu"
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 0\n"


def test_a_folder_that_may_not_be_written_is_said_in_a_sentence(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        RunFolder(tmp_path / "runs" / "demo")
