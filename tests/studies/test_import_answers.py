"""Imports of result files: every form, every defect by its line, and nothing lost or added twice."""

import json
import os
import signal
import subprocess
import sys

import pytest
from golden_study import golden_study
from result_rows import result_row, write_rows
from small_study import small_study

from dissectbench.harness.errors import InputError
from dissectbench.results.studies import import_answers, judge, read_answers
from dissectbench.results.studies.mturk.times import utc_time


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", units=4, images=2)


def written(study):
    return (study.path / "answers.jsonl").read_bytes()


@pytest.fixture(scope="module")
def golden(shared):
    return shared / "golden" / "mturk"


FILES = (
    "Batch_results_A.csv",
    "Batch_results_B_taskAnswers.csv",
    "Batch_results_A_bom_crlf_reordered.csv",
)


@pytest.mark.parametrize("name", FILES)
def test_reference_files_have_the_expected_answers(golden, tmp_path, name):
    study = golden_study(golden, tmp_path / "study")
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))
    (report,) = import_answers(study, [golden / name])
    assert (report.rows, report.added) == (92, 92)
    answers = read_answers(study)
    judgements = judge(study, answers)
    dropped = {"rejected": 3, "duplicate": 2, "second_answer": 0, "failed_checks": 7, "check_tasks": 7}
    assert judgements.dropped == dropped
    assert len(judgements.accepted) == len(expected["accepted_judgements"])
    by_id = {j.assignment[1]: j for j in judgements.accepted}
    for want in expected["accepted_judgements"]:
        judgement = by_id[want["assignment_id"]]
        assert judgement.ratings == {m: r for m, r in want["ratings"].items() if r is not None}
        best = {"": None, None: None, "none": ()}.get(want["best_slot"], (want["best_method"],))
        assert judgement.best == best
    comments = {a.assignment_id: a.values["comment"] for a in answers if "comment" in a.values}
    assert comments == expected["comments"]
    assert {a[1] for a in judgements.too_fast} == set(expected["too_fast_assignment_ids"])


def test_the_reference_files_are_the_same_answers(golden, tmp_path):
    study = golden_study(golden, tmp_path / "study")
    reports = import_answers(study, [golden / name for name in FILES])
    assert [report.added for report in reports] == [92, 0, 0]
    assert [report.known for report in reports] == [0, 92, 92]


def test_a_result_of_turkle_is_imported(shared, tmp_path):
    from dissectbench.results.studies import KeyRow, StudyFiles, StudySettings, Task, write_study

    tasks = [Task(name, (), ("a", "b", "c", "d")) for name in ("s0001", "s0002")]
    key = [
        KeyRow(t.id, "unit", "", "layer", n, s, f"m{s}") for n, t in enumerate(tasks) for s in range(1, 5)
    ]
    settings = StudySettings("rating", "Rate", 0, 2, ("m1", "m2", "m3", "m4"), ("layer",))
    study = write_study(tmp_path / "study", settings, StudyFiles(tasks, key, {}, "", ""))
    (report,) = import_answers(study, [shared / "golden" / "turkle" / "sample_results.csv"])
    assert report.form == "turkle"
    assert report.source.startswith("turkle:")
    anna1, ben1, anna2, ben2 = read_answers(study)
    assert anna1.values["comment"] == 'très clair, "oui"\r\nmerci 🙂'
    assert anna1.submitted == "2026-11-24T21:21:32Z"
    assert "rating_4" not in anna2.values
    assert ben2.values["best"] == "none"
    assert anna1.rater == anna2.rater != ben1.rater == ben2.rater
    ratings = [j.ratings for j in judge(study, read_answers(study)).accepted]
    assert ratings[0] == {"m1": 5, "m2": 2, "m3": 1, "m4": 3}
    assert ratings[2] == {"m1": 1, "m2": 2, "m3": 4}


def test_turkle_installations_have_ids_of_their_own(study, tmp_path):
    def rows(created):
        row = result_row(study, 1) | {"HITTypeId": "1", "Title": "t", "CreationTime": created}
        return [{**{n: v for n, v in row.items() if n != "AssignmentStatus"}, "Turkle.Username": "anna"}]

    first = write_rows(tmp_path / "a.csv", rows("Tue Nov 24 21:21:29 UTC 2026"), end="\r\n")
    other = rows("Wed Nov 25 08:00:00 UTC 2026")
    other[0]["Answer.best"] = "none"
    second = write_rows(tmp_path / "b.csv", other, end="\r\n")
    reports = import_answers(study, [first, second])
    assert [report.added for report in reports] == [1, 1]
    assert reports[0].source != reports[1].source
    with pytest.raises(InputError, match=r"differs from the one in a\.csv, line 2"):
        import_answers(
            small_study(tmp_path / "same", units=4, images=2), [first, second], source="turkle:a"
        )


def test_values_and_shapes_of_a_row(study, tmp_path):
    rows = [result_row(study, n) for n in range(3)]
    row = rows[0]
    row["Answer.comment"] = '  =1+1 "quoted",\r\nsecond line 🙂  '
    row |= {"Answer.rating_1": "", "Answer.best": ""}
    rows = [{**r, "Answer.taskAnswers": ""} for r in rows]
    for name in [name for name in rows[1] if name.startswith("Answer.")]:
        rows[1][name] = ""
    group = {"1": False, "2": False, "3": True, "4": False, "5": False}
    content = [{"rating_1": group, "rating_2": 4, "best": {"none": True}, "comment": "", "rating_4": "2"}]
    rows[1]["Answer.taskAnswers"] = json.dumps(content)
    path = write_rows(tmp_path / "r.csv", rows, end="\r\n", bom=True)
    import_answers(study, [path])
    first, second, third = read_answers(study)
    assert first.values["comment"] == row["Answer.comment"]
    assert not {"rating_1", "best"} & set(first.values)
    assert second.values == {"rating_1": "3", "rating_2": "4", "rating_4": "2", "best": "none"}
    assert third.values["best"] == "3"


def test_one_column_per_option(study, tmp_path):
    row = result_row(study, 0)
    del row["Answer.best"]
    row |= {"Answer.best.1": "false", "Answer.best.2": "true", "Answer.best.none": "false"}
    import_answers(study, [write_rows(tmp_path / "r.csv", [row])])
    assert read_answers(study)[0].values["best"] == "2"


def change(row, **cells):
    return {**row, **{name.replace("__", "."): value for name, value in cells.items()}}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"Input__task_id": "t999"}, "line 4: the study has no task 't999'"),
        ({"Input__design": "f" * 64}, "line 4: the answer belongs to another design .ffffffffffff."),
        ({"Answer__rating_2": "6"}, "line 4: rating_2 is '6', allowed: 1, 2, 3, 4, 5"),
        ({"Answer__best": "5"}, "line 4: best is '5'"),
        ({"Answer__best": "1|2"}, "line 4: best is '1|2'"),
        ({"AssignmentId": " "}, "line 4: AssignmentId is empty"),
        ({"AssignmentStatus": "Returned"}, "line 4: AssignmentStatus is 'returned'"),
        ({"WorkTimeInSeconds": "fast"}, "line 4: WorkTimeInSeconds is 'fast'"),
        ({"Approve": "x", "Reject": "no"}, "line 4: both Approve and Reject"),
    ],
)
def test_an_invalid_row_is_refused_with_its_line(study, tmp_path, cells, message):
    rows = [result_row(study, n) for n in range(3)]
    rows[0]["Answer.comment"] = "two\nlines"
    rows[1] = change(rows[1], **cells)
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        import_answers(study, [write_rows(tmp_path / "r.csv", rows)])
    assert not (study.path / "answers.jsonl").exists()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("AssignmentStatus", r"missing columns: AssignmentStatus \(the state of the review\)"),
        ("WorkerId", r"missing columns: WorkerId \(the rater\)"),
        ("Input.task_id", "no column Input.task_id or Answer.task_id"),
        ("Answer.", "no column Answer.NAME"),
    ],
)
def test_a_missing_column_is_named(study, tmp_path, removed, message):
    row = {n: v for n, v in result_row(study, 0).items() if not n.startswith(removed)}
    with pytest.raises(InputError, match=message):
        import_answers(study, [write_rows(tmp_path / "r.csv", [row])])


def test_a_missing_answer_column_is_missing_answers(study, tmp_path):
    row = result_row(study, 0)
    del row["Answer.rating_4"]
    (report,) = import_answers(study, [write_rows(tmp_path / "r.csv", [row])])
    assert "no column Answer.rating_4: counted as missing answers" in report.notes
    assert "rating_4" not in read_answers(study)[0].values


def test_every_cut_of_a_file_is_detected_or_leaves_whole_rows(study, tmp_path):
    rows = [result_row(study, n, Answer__comment="schön 🙂,\r\n„gut“") for n in range(2)]
    content = write_rows(tmp_path / "r.csv", rows, end="\r\n").read_bytes()
    whole_rows = {len(content), len(content) - 1, len(content) - 2}
    first_row_end = content.index(b'"H-', content.index(b'"H-') + 1)
    whole_rows |= {first_row_end, first_row_end - 1, first_row_end - 2}
    for end in range(first_row_end - 4, len(content) + 1):
        path = tmp_path / "cut.csv"
        path.write_bytes(content[:end])
        fresh = small_study(tmp_path / f"study{end}", units=4, images=2) if end in whole_rows else study
        if end in whole_rows:
            (report,) = import_answers(fresh, [path])
            assert report.rows == (2 if end >= len(content) - 2 else 1)
        else:
            with pytest.raises(InputError, match="cut off"):
                import_answers(study, [path])


def test_rows_of_turkle_s_api_are_noted(study, tmp_path):
    row = result_row(study, 0, Answer__comment="schön")
    row = {n: v for n, v in row.items() if n != "AssignmentStatus"} | {"Turkle.Username": "anna"}
    (report,) = import_answers(study, [write_rows(tmp_path / "r.csv", [row])])
    assert any("admin site" in note for note in report.notes)


def test_importing_twice_changes_nothing(study, tmp_path):
    path = write_rows(tmp_path / "r.csv", [result_row(study, n) for n in range(3)])
    before = path.read_bytes()
    import_answers(study, [path])
    content = written(study)
    (report,) = import_answers(study, [path])
    assert report.complete
    assert written(study) == content
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="imported before with the source 'mturk'"):
        import_answers(study, [path], source="other")


def test_a_later_download_adds_rows_and_changes_of_status(study, tmp_path):
    rows = [result_row(study, n) for n in range(2)]
    first = write_rows(tmp_path / "first.csv", rows)
    import_answers(study, [first])
    rows[0]["AssignmentStatus"] = "Rejected"
    rows.append(result_row(study, 2))
    (report,) = import_answers(study, [write_rows(tmp_path / "second.csv", rows)])
    assert (report.added, report.known, report.changed) == (1, 2, 1)
    assert [a.status for a in read_answers(study)] == ["rejected", "submitted", "submitted"]
    # Overturned on the site.
    rows[0]["AssignmentStatus"] = "Approved"
    import_answers(study, [write_rows(tmp_path / "third.csv", rows)])
    assert [a.status for a in read_answers(study)] == ["approved", "submitted", "submitted"]
    # A download from before the review takes nothing back.
    import_answers(study, [write_rows(tmp_path / "old.csv", [result_row(study, 0)])])
    assert read_answers(study)[0].status == "approved"


def test_a_filled_reject_column_counts_before_it_is_uploaded(study, tmp_path):
    row = result_row(study, 0, Reject="wrong answer to the check")
    import_answers(study, [write_rows(tmp_path / "r.csv", [row])])
    assert read_answers(study)[0].status == "rejected"


def test_of_two_answers_of_a_worker_the_first_submitted_is_kept(study, tmp_path):
    task = next(iter(study.tasks))
    later = result_row(study, 5, "W", task, Answer__rating_1="1")
    earlier = result_row(study, 1, "W", task, Answer__rating_1="5")
    import_answers(study, [write_rows(tmp_path / "r.csv", [later, earlier])])
    judgements = judge(study, read_answers(study))
    assert judgements.dropped["second_answer"] == 1
    assert [j.assignment[1] for j in judgements.accepted] == ["A1"]


def test_a_kill_at_any_byte_loses_nothing(study, tmp_path):
    rows = [result_row(study, n) for n in range(4)]
    rows.append({**rows[1], "AssignmentStatus": "Approved"})
    first = write_rows(tmp_path / "first.csv", rows[:2])
    second = write_rows(tmp_path / "second.csv", rows)
    import_answers(study, [first])
    start = len(written(study))
    import_answers(study, [second])
    content, answers = written(study), read_answers(study)
    for end in range(start, len(content), 7):
        (study.path / "answers.jsonl").write_bytes(content[:end])
        import_answers(study, [second])
        assert written(study) == content
        assert read_answers(study) == answers


def test_a_process_that_is_killed_while_it_writes_is_completed_by_the_next(study, tmp_path):
    path = write_rows(tmp_path / "r.csv", [result_row(study, n) for n in range(4)])
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dissectbench.harness import journal\n"
        "from dissectbench.results.studies import Study, import_answers\n"
        "def half(self, line):\n"
        "    self._file.write(line.encode()[: len(line) // 2])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "journal.LineWriter.append = half\n"
        "import_answers(Study(sys.argv[1]), [Path(sys.argv[2])])\n"
    )
    command = [sys.executable, "-c", script, str(study.path), str(path)]
    assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL
    partial = read_answers(study)
    assert 0 < len(partial) < 4
    (report,) = import_answers(study, [path])
    assert (report.added, report.known) == (4 - len(partial), len(partial))
    assert [a.assignment_id for a in read_answers(study)] == ["A0", "A1", "A2", "A3"]


def test_an_invalid_file_stores_nothing_of_the_others(study, tmp_path):
    good = write_rows(tmp_path / "good.csv", [result_row(study, 0)])
    bad = write_rows(tmp_path / "bad.csv", [result_row(study, 1, Answer__best="9")])
    with pytest.raises(InputError, match=r"bad\.csv, line 2"):
        import_answers(study, [good, bad])
    assert not read_answers(study)


def test_worker_ids_are_not_stored(study, tmp_path):
    import_answers(study, [write_rows(tmp_path / "r.csv", [result_row(study, 0, "AWORKER77")])])
    assert b"AWORKER77" not in written(study)


def test_a_file_of_another_kind_is_refused(study, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("layer,unit,description\nfc,1,dog\n", encoding="utf-8")
    with pytest.raises(InputError, match="neither a result file"):
        import_answers(study, [path])


@pytest.mark.parametrize(
    ("cell", "time"),
    [
        ("Thu Oct 09 07:30:20 UTC 2025", "2025-10-09T07:30:20Z"),
        ("Thu Oct 09 20:30:20 PDT 2025", "2025-10-10T03:30:20Z"),
        ("2025-10-09T07:30:20+02:00", "2025-10-09T05:30:20Z"),
        ("", ""),
        ("yesterday", None),
        ("Thu Oct 09 07:30:20 XYZ 2025", None),
    ],
)
def test_times_are_read_as_utc(cell, time):
    assert utc_time(cell) == time
