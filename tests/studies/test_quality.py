"""Unusual answers are flagged and kept; reviews approve and reject with reasons."""

import csv

import pytest
from result_rows import result_row, write_rows
from small_study import small_study

from dissectbench.harness.errors import InputError
from dissectbench.results.studies import import_answers, quality_flags, read_answers
from dissectbench.results.studies.mturk import write_review


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", units=5, images=2)


def flags_of(study, tmp_path, rows):
    import_answers(study, [write_rows(tmp_path / "r.csv", rows)])
    return {
        (flag.rule, len(flag.assignments)): flag for flag in quality_flags(study, read_answers(study))
    }


def test_careful_answers_have_no_flag(study, tmp_path):
    assert not flags_of(study, tmp_path, [result_row(study, n, "W") for n in range(5)])


def test_fast_and_empty_answers_are_flagged(study, tmp_path):
    empty = {f"Answer__rating_{slot}": "" for slot in range(1, 5)} | {"Answer__best": ""}
    rows = [
        result_row(study, 0, WorkTimeInSeconds="3"),
        result_row(study, 1, Answer__comment="?", **empty),
    ]
    assert set(flags_of(study, tmp_path, rows)) == {("too_fast", 1), ("no_answer", 1)}


def test_an_assignment_with_two_rows_is_flagged_once(study, tmp_path):
    row = result_row(study, 0, WorkTimeInSeconds="3")
    assert set(flags_of(study, tmp_path, [row, row])) == {("too_fast", 1)}


def test_constant_answers_and_repeated_texts_of_a_rater_are_flagged(study, tmp_path):
    same = {f"Answer__rating_{slot}": "3" for slot in range(1, 5)}
    rows = [result_row(study, n, "W", Answer__comment="Good  TASK", **same) for n in range(3)]
    rows += [result_row(study, n, "V", Answer__best="2", AssignmentId=f"V{n}") for n in range(3)]
    # The attention check of the study expects the first slot.
    found = flags_of(study, tmp_path, rows)
    assert found["same_text", 3].message == "the comment 'good task' in 3 tasks"
    messages = {f.message for f in quality_flags(study, read_answers(study)) if f.rule == "constant"}
    assert messages == {"every rating is 3", "every answer to `best` is 2"}


def test_a_rater_who_fails_a_check_is_flagged_in_all_answers(study, tmp_path):
    check = next(task for task, key in study.key.items() if key[0].role == "attention")
    rows = [result_row(study, 0, "W"), result_row(study, 1, "W", check, Answer__best="3")]
    assert ("failed_checks", 2) in flags_of(study, tmp_path, rows)


def review(study, tmp_path, rows):
    path = write_rows(tmp_path / "batch.csv", rows)
    before = path.read_bytes()
    (report,) = import_answers(study, [path])
    counts = write_review(study, path, report.source, read_answers(study), tmp_path / "review.csv")
    assert path.read_bytes() == before
    with (tmp_path / "review.csv").open(encoding="utf-8", newline="") as file:
        return counts, list(csv.DictReader(file))


def test_a_review_has_the_same_rows_and_decides_about_submitted_ones(study, tmp_path):
    check = next(task for task, key in study.key.items() if key[0].role == "attention")
    rows = [
        result_row(study, 0, Answer__comment='"quoted",\r\n🙂'),
        result_row(study, 1, "bad"),
        result_row(study, 2, "bad", check, Answer__best="3"),
        result_row(study, 3, AssignmentStatus="Approved"),
        result_row(study, 4, WorkTimeInSeconds="2"),
    ]
    rows.append(rows[0])
    counts, reviewed = review(study, tmp_path, rows)
    assert counts == (2, 2)
    assert [row["Approve"] for row in reviewed] == ["x", "", "", "", "x", ""]
    assert [bool(row["Reject"]) for row in reviewed] == [False, True, True, False, False, False]
    assert all(len(row["Reject"]) <= 1024 for row in reviewed)
    unchanged = [{**row, "Approve": "", "Reject": ""} for row in reviewed]
    assert unchanged == rows
    text = (tmp_path / "review.csv").read_bytes()
    assert all(line.startswith(b'"') for line in text.split(b"\r\n")[:2])


def test_a_review_of_a_later_download_knows_the_answers_of_the_earlier_one(study, tmp_path):
    check = next(task for task, key in study.key.items() if key[0].role == "attention")
    rows = [result_row(study, 1, "bad", check, Answer__best="3")]
    import_answers(study, [write_rows(tmp_path / "first.csv", rows)])
    rows.append(result_row(study, 2))
    assert review(study, tmp_path, rows)[0] == (1, 1)


def test_a_reviewed_file_that_is_imported_has_its_decisions(study, tmp_path):
    check = next(task for task, key in study.key.items() if key[0].role == "attention")
    review(study, tmp_path, [result_row(study, 0), result_row(study, 2, "bad", check, Answer__best="3")])
    (report,) = import_answers(study, [tmp_path / "review.csv"])
    assert report.changed == 2
    assert [answer.status for answer in read_answers(study)] == ["approved", "rejected"]


def test_a_review_never_replaces_the_result_file(study, tmp_path):
    path = write_rows(tmp_path / "batch.csv", [result_row(study, 0)])
    with pytest.raises(InputError, match="raw files are never changed"):
        write_review(study, path, "mturk", [], path)


def test_turkle_has_no_review(study, tmp_path):
    row = {n: v for n, v in result_row(study, 0).items() if n != "AssignmentStatus"}
    path = write_rows(tmp_path / "batch.csv", [row | {"Turkle.Username": "anna"}])
    with pytest.raises(InputError, match="no column AssignmentStatus"):
        write_review(study, path, "turkle:x", [], tmp_path / "review.csv")
