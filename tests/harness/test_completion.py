"""Shell completion, asked for as a shell asks for it."""

import os
import subprocess
import sys

import pytest


def completions(line: str, tmp_path) -> list[str]:
    """What the shell is offered at the end of a line, through argcomplete's protocol."""
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    command = [sys.executable, "-c", "from dissectbench.harness.cli import main; main()"]
    subprocess.run(command, env=environment, check=False, capture_output=True)
    return answer.read_text().split("\n") if answer.exists() else []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dissectbench ta", {"table"}),
        ("dissectbench run --retry", {"--retry-failed"}),
        ("dissectbench export x --layout mi", {"milan"}),
        ("dissectbench run uni", {"units="}),
    ],
)
def test_commands_options_and_settings_are_completed(tmp_path, line, expected):
    offered = {word.strip() for word in completions(line, tmp_path)}
    assert expected <= offered


def test_a_group_is_completed_with_its_choices(tmp_path):
    offered = " ".join(completions("dissectbench run target=resnet", tmp_path))
    assert "resnet18" in offered
    assert "resnet50" in offered
    assert "vgg16" not in offered


def test_a_bash_script_can_be_registered():
    done = subprocess.run(
        ["register-python-argcomplete", "dissectbench"],
        env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},  # noqa: PTH120
        capture_output=True,
        text=True,
        check=True,
    )
    assert "complete" in done.stdout
