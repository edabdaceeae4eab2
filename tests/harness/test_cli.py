"""The command line: commands, exit codes and messages."""

import os
import subprocess
import sys

import pytest

from dissectbench.harness.cli import main


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for command in (
        "run",
        "score",
        "table",
        "show",
        "figure",
        "export",
        "list",
        "doctor",
        "milan",
        "reproduce",
    ):
        assert f"    {command} " in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "unit=5"], "did you mean units?"),
        (["run", "target=resnet51"], "there is no such target"),
        (["run", "probe=imagefolder"], "probe.root is not set"),
        (["run", "probe=imagefolder", "probe.root=/does/not/exist"], "no such folder"),
        (["run", "device=cuda:99", "probe.images=20"], "no such device"),
        (["run", "method=[]"], "no method is chosen"),
        (["score", "nowhere.csv"], "nowhere.csv"),
        (["score", "metric=[minilm_cosine]"], "no file of descriptions"),
        (["table", "nowhere"], "is not the folder of a run"),
        (["list", "laers"], "did you mean layers"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(capsys, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["tabel", "runs/demo"], "there is no 'tabel'; did you mean table"),
        (["milan", "trian"], "there is no 'trian'; did you mean train?"),
        (["table", "runs/demo", "--format", "latx"], "there is no 'latx'; did you mean latex"),
        (["xyz"], "there is no 'xyz'; choose from run, score, table"),
    ],
)
def test_a_misspelt_command_or_choice_has_a_suggestion(capsys, arguments, hint):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("form", ["terminal", "csv", "json"])
def test_a_reader_that_closes_the_pipe_is_no_error(repository, form):
    read, write = os.pipe()
    os.close(read)
    run_folder = repository / "tests/fixtures/run_format_1"
    command = [sys.executable, "-m", "dissectbench.harness", "table", str(run_folder), "--format", form]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


def labels(tmp_path, text="unit,description\n0,a boat\n1,a red car\n2,a tree\n"):
    (tmp_path / "labels.csv").write_text(text)
    (tmp_path / "names.txt").write_text("boat, ship\ncar, automobile\ntree\n")
    return tmp_path / "labels.csv", "--references", tmp_path / "names.txt", "metric=[synonym_accuracy]"


def test_a_csv_of_descriptions_is_scored_without_any_vision_model(capsys, tmp_path):
    code, out, _ = run(
        capsys, "score", *labels(tmp_path), "--out", tmp_path / "out", "table.resamples=100"
    )
    assert code == 0
    assert "3/3" in out
    assert "constant: depiction" in out
    assert "shuffled: labels" in out
    assert (tmp_path / "out" / "scores.parquet").exists()
    code, out, _ = run(capsys, "table", tmp_path / "out", "--format", "markdown")
    assert code == 0
    assert "| labels |" in out
    code, out, _ = run(capsys, "table", tmp_path / "out", "--only", "scores_fc", "--format", "svg")
    assert code == 0
    assert out.startswith("<svg")
    code, _, error = run(capsys, "table", tmp_path / "out", "--only", "nowhere")
    assert code == 2
    assert "Tables of these runs: scores_fc" in error


def test_a_blank_description_counts_against_the_coverage(capsys, tmp_path):
    code, out, _ = run(
        capsys,
        "score",
        *labels(tmp_path, "unit,description\n0,a boat\n1,\n2,a tree\n"),
        "table.resamples=100",
    )
    assert code == 0
    assert "2/3" in out
    assert "1 missing" in out


def test_a_unit_beyond_the_references_is_refused(capsys, tmp_path):
    code, _, error = run(capsys, "score", *labels(tmp_path, "unit,description\n0,a boat\n9,a car\n"))
    assert code == 2
    assert "unit 9" in error
    assert "names 3 units" in error


def test_a_file_that_is_not_text_is_refused_with_its_line(capsys, tmp_path):
    arguments = labels(tmp_path)
    arguments[0].write_bytes(b"unit,description\n0,\xff\xfe\n")
    code, _, error = run(capsys, "score", *arguments)
    assert code == 2
    assert "labels.csv, line 2" in error


def test_groups_and_choices_are_listed(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert "resnet50" in out
    code, out, _ = run(capsys, "list", "methods")
    assert code == 0
    assert "clip_dissect" in out


@pytest.mark.slow
def test_layers_are_listed_with_their_kinds(capsys):
    code, out, _ = run(capsys, "list", "layers", "target=tinyworld")
    assert code == 0
    assert "layer4" in out
    assert "spatial" in out


@pytest.mark.slow
def test_the_doctor_finds_tinyworld_and_says_what_is_missing(capsys, tmp_path, monkeypatch):
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)  # the doctor downloads nothing in any case
    code, out, _ = run(capsys, "doctor", "--runs", tmp_path / "runs")
    assert code == 0
    assert "tinyworld" in out
    assert "broken" not in out
    assert "is not downloaded" in " ".join(out.split())
    assert "HF_HUB_OFFLINE" not in out  # the user has not set it
