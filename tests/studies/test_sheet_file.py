"""Rating sheets are read back, whoever filled them in with whichever spreadsheet."""

import pytest
from small_study import small_study

from dissectbench.harness.errors import InputError
from dissectbench.results.studies import import_answers, read_answers


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", units=3, images=2)


def sheet(study, path, rows, separator=",", encoding="utf-8"):
    header = ["task_id", "design", "rater", *(f"rating_{n}" for n in range(1, 5)), "best", "comment"]
    tasks = list(study.tasks)
    lines = [header] + [[tasks[n], study.design, *cells] for n, cells in enumerate(rows)]
    path.write_text("\n".join(separator.join(line) for line in lines) + "\n", encoding=encoding)
    return path


def test_a_sheet_of_one_expert_names_the_rater_once(study, tmp_path):
    rows = [["Ann", "5", "1", "1", "2", "1", "clear"], ["", "", "3", "", "", "None", ""], [""] * 7]
    (report,) = import_answers(study, [sheet(study, tmp_path / "s.csv", rows)])
    assert (report.form, report.source, report.rows) == ("sheet", "sheet", 2)
    assert report.notes == {"rows without an answer": 1}
    first, second = read_answers(study)
    assert first.values == {
        **{f"rating_{n}": v for n, v in zip((1, 2, 3, 4), "5112", strict=True)},
        "best": "1",
        "comment": "clear",
    }
    assert second.values == {"rating_2": "3", "best": "none"}
    assert first.rater == second.rater
    assert "Ann" not in (study.path / "answers.jsonl").read_text(encoding="utf-8")


def test_spreadsheets_write_semicolons_byte_order_marks_and_decimals(study, tmp_path):
    path = sheet(
        study, tmp_path / "s.csv", [["Ann", "5.0", "1", "1", "2", "1", "a, b"]], ";", "utf-8-sig"
    )
    import_answers(study, [path])
    (answer,) = read_answers(study)
    assert answer.values["rating_1"] == "5"
    assert answer.values["comment"] == "a, b"


def test_several_experts_in_one_sheet_are_named_in_each_row(study, tmp_path):
    rows = [["Ann", "5", "1", "1", "2", "1", ""], ["Ben", "5", "1", "1", "2", "1", ""]]
    import_answers(study, [sheet(study, tmp_path / "s.csv", rows)])
    assert len({answer.rater for answer in read_answers(study)}) == 2
    rows.append(["", "5", "1", "1", "2", "1", ""])
    with pytest.raises(InputError, match="line 4: no rater"):
        import_answers(study, [sheet(study, tmp_path / "t.csv", rows)])


def test_a_sheet_that_is_sent_again_adds_new_rows_and_refuses_corrections(study, tmp_path):
    rows = [["Ann", "5", "1", "1", "2", "1", ""]]
    import_answers(study, [sheet(study, tmp_path / "s.csv", rows)])
    rows.append(["Ann", "4", "1", "1", "2", "1", ""])
    (report,) = import_answers(study, [sheet(study, tmp_path / "s.csv", rows)])
    assert (report.added, report.known) == (1, 1)
    rows[0][1] = "4"
    with pytest.raises(InputError, match=r"line 2: the answer differs from the one in s\.csv, line 2"):
        import_answers(study, [sheet(study, tmp_path / "s.csv", rows)])


def test_a_sheet_of_another_design_is_refused(study, tmp_path):
    other = small_study(tmp_path / "other", units=3, images=2, seed=1)
    path = sheet(other, tmp_path / "s.csv", [["Ann", "5", "1", "1", "2", "1", ""]])
    with pytest.raises(InputError, match="line 2: the row belongs to another design"):
        import_answers(study, [path])


def test_a_rating_out_of_range_is_refused(study, tmp_path):
    path = sheet(study, tmp_path / "s.csv", [["Ann", "4.5", "1", "1", "2", "1", ""]])
    with pytest.raises(InputError, match=r"line 2: rating_1 is '4\.5'"):
        import_answers(study, [path])
