"""`dissectbench import` and `score --layout` at the command line."""

import json

import pytest

from dissectbench.harness.cli import main

LAYOUT = "name: mine\nheader: [neuron, text]\nunit: neuron\ndescription: text\n"


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels_fc.csv"
    path.write_text('Neuron ID,label\n1,cat\n0,"a ""dog"""\n', encoding="utf-8")
    return path


def test_import_prints_what_is_unusual_and_writes_the_file(labels, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(["import", str(labels), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{labels}: Describe-and-Dissect, one label, 2 rows, 2 descriptions of fc (from the file name)",
        "  method: dnd:labels",
        "  out of order: 1 (first: line 3)",
        "  with double quotes inside: 1 (first: line 3)",
        f"{out}: 2 rows, methods: 1",
    ]
    assert out.read_text(encoding="utf-8").splitlines()[1:] == [
        'fc,0,dnd:labels,"a ""dog""",ok,,,',
        "fc,1,dnd:labels,cat,ok,,,",
    ]


def test_the_report_as_json(labels, tmp_path, capsys):
    out = tmp_path / "out.csv"
    arguments = ["import", str(labels), "--layer", "layer4", "--method", "mine", "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    [file] = report.pop("files")
    assert report == {"out": str(out), "descriptions": 2, "methods": ["mine"]}
    assert (file["rows"], file["layers"], file["layer_from"]) == (2, ["layer4"], "argument")
    assert {"what": "out of order", "count": 1, "first_line": 3} in file["oddities"]
    assert file["unused_columns"] == []


def test_invalid_input_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    path = tmp_path / "x.csv"
    path.write_text("layer,unit,description\nfc,zero,dog\n")
    assert main(["import", str(path), "--out", str(tmp_path / "out.csv")]) == 2
    error = capsys.readouterr().err
    assert f"{path}, line 2, column 'unit': 'zero' is not the number of a unit" in error
    assert not (tmp_path / "out.csv").exists()


def test_a_layout_of_the_user_is_read_by_import_and_score(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(LAYOUT)
    (tmp_path / "words.csv").write_text("neuron,text\n0,dog\n1,cat\n")
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    words, layout = str(tmp_path / "words.csv"), ["--layout", str(tmp_path / "mine.yaml")]
    assert main(["import", words, *layout, "--layer", "fc", "--out", str(tmp_path / "o.csv")]) == 0
    references = ["--references", str(tmp_path / "names.txt"), "metric=[synonym_accuracy]"]
    capsys.readouterr()
    assert main(["score", words, *layout, "--layer", "fc", *references, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["layout"] == "mine"
    assert main(["score", words, "--layer", "fc", *references]) == 2
    assert "unknown header: neuron,text" in capsys.readouterr().err


def test_names_with_control_characters_are_quoted_on_the_terminal(tmp_path, capsys):
    path = tmp_path / "x.csv"
    path.write_text("layer,unit,description\n\x1b[2Jfc,0,dog\n")
    assert main(["import", str(path), "--out", str(tmp_path / "out.csv")]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "descriptions of '\\x1b[2Jfc'" in printed
