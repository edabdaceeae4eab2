"""The pages on metrics, run as written."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from dissectbench.harness.config import shipped


@pytest.fixture
def page(repository):
    def read(name):
        file = repository / "docs" / name
        if not file.is_file():
            pytest.skip("there is no documentation next to the tests")
        return file.read_text("utf-8")

    return read


def test_a_metric_is_added_as_the_page_says(page, tmp_path):
    text = page("add_a_metric.md")
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    names = re.findall(r"`([\w/]+\.(?:py|yaml|csv|txt))`[,;:]", text)
    files = [body for language, body in blocks if language != "console"]
    assert names == ["my_metrics.py", "my_configs/metric/word_overlap.yaml", "labels.csv", "names.txt"]
    for name, body in zip(names, files, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body, "utf-8")
    [command] = [body for language, body in blocks if language == "console"]
    arguments = shlex.split(command.removeprefix("$ dissectbench"))
    done = subprocess.run(
        [sys.executable, "-m", "dissectbench.harness", *arguments, "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "word_overlap" in done.stdout
    assert "0.4167" in done.stdout  # the mean of 1/3 and 1/2


def test_the_tables_are_made_in_python_as_the_page_says(page):
    [code] = re.findall(r"```python\n(.*?)```", page("metrics.md"), re.DOTALL)
    names = {}
    exec(code, names)
    rows = names["scores"].query("method == 'mine'")
    assert rows.score.tolist()[0] == 1
    assert rows.reason.tolist() == [None, "failed"]
    assert names["table"].columns[3].percent


def test_every_shipped_metric_is_on_the_page(page):
    text = page("metrics.md")
    for file in (shipped() / "metric").glob("*.yaml"):
        assert f"`{file.stem}`" in text, file.stem
