"""`dissectbench leaderboard`: from a run to files, with exit codes and JSON."""

import json
import shutil

import pytest

from dissectbench.harness.cli import main


@pytest.fixture
def bundle(repository, tmp_path):
    return shutil.copy(repository / "tests/fixtures/bundle_schema_1.zip", tmp_path / "one.zip")


def test_validate_prints_what_it_computed_again(bundle, capsys):
    assert main(["leaderboard", "validate", str(bundle)]) == 0
    assert "computed again: exact_accuracy, synonym_accuracy" in capsys.readouterr().out


def test_validate_checks_all_files_and_says_why_one_is_refused(bundle, tmp_path, capsys):
    (tmp_path / "bad.zip").write_bytes(b"PK")
    assert main(["leaderboard", "validate", str(tmp_path / "bad.zip"), str(bundle), "--json"]) == 2
    bad, good = json.loads(capsys.readouterr().out)["bundles"]
    assert (bad["valid"], good["valid"]) == (False, True)
    assert "truncated" in bad["reason"]


def test_build_writes_every_format_and_prints_the_path(bundle, tmp_path, capsys):
    out = tmp_path / "board"
    command = ["leaderboard", "build", str(bundle), "--out", str(out), "--baseline", "clip_dissect"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "exact_accuracy: clip_dissect 1-2 a, network_dissection 1-2 a" in printed
    assert "minus clip\\_dissect" in (out / "leaderboard.md").read_text("utf-8")
    assert str(out) in printed.splitlines()[-1]
    names = {"leaderboard.csv", "leaderboard.md", "leaderboard.json", "index.html"}
    assert {path.name for path in out.iterdir()} == names
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["baseline"] == "clip_dissect"


def test_submit_refuses_what_is_no_run(tmp_path, capsys):
    assert main(["leaderboard", "submit", str(tmp_path), "--out", str(tmp_path / "a.zip")]) == 2
    assert "not the folder of a run" in capsys.readouterr().err
    assert not (tmp_path / "a.zip").exists()
