"""The folder of a study is read as it was written, for any text, and is written once."""

import pytest
from small_study import small_study

from dissectbench.harness.errors import InputError
from dissectbench.results.studies import KeyRow, Study, StudyFiles, StudySettings, Task, write_study

SETTINGS = StudySettings(
    kind="rating", title="Rate", seed=0, raters_per_task=1, methods=("a",), layers=("l",)
)


def files(text):
    key = [KeyRow("t1", "unit", "net", "l", 0, 1, "a")]
    return StudyFiles([Task("t1", ("x.jpg",), (text,))], key, {"x.jpg": b"x"}, "Rate.", "Agree.")


@pytest.mark.parametrize("separator", ["\n", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_description_may_have_any_line_separator(tmp_path, separator):
    text = f"a boat{separator}at night"
    write_study(tmp_path / "study", SETTINGS, files(text))
    assert Study(tmp_path / "study").tasks["t1"].descriptions == (text,)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "study").mkdir()
    assert write_study(tmp_path / "study", SETTINGS, files("a boat")).tasks


def test_a_design_is_written_once(tmp_path):
    first = write_study(tmp_path / "study", SETTINGS, files("a boat"))
    secret = (first.path / "secret.json").read_bytes()
    assert write_study(tmp_path / "study", SETTINGS, files("a boat")).design == first.design
    assert (first.path / "secret.json").read_bytes() == secret
    with pytest.raises(InputError, match="holds something else"):
        write_study(tmp_path / "study", SETTINGS, files("a ship"))


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "study").write_text("")
    with pytest.raises(InputError, match="holds something else"):
        write_study(tmp_path / "study", SETTINGS, files("a boat"))


@pytest.mark.parametrize("name", ["study.yaml", "tasks.jsonl", "key.csv", "instructions.md"])
def test_a_changed_design_is_refused(tmp_path, name):
    study = small_study(tmp_path / "study")
    path = study.path / name
    path.write_text(path.read_text(encoding="utf-8").replace("e", "E", 1), encoding="utf-8")
    with pytest.raises(InputError):
        Study(study.path)
