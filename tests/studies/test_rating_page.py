"""Raters answer the tasks of a study on the rating page; answers are stored once and read back."""

import csv
import io
import re
from collections import Counter

import pytest
from rating_server import Rater, address, request, serving
from small_study import small_study

from dissectbench.harness.errors import InputError
from dissectbench.results.studies.server.codes import verify_codes
from dissectbench.results.studies.server.results import raters_csv, results_csv
from dissectbench.results.studies.server.store import Store, read_rows
from dissectbench.results.studies.server.tokens import admin_token, slug


def table(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", units=4, checks=1)


def test_a_rater_consents_reads_instructions_answers_all_tasks_and_gets_a_code(study):
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.go(rater.start)
        assert "You may stop at any time." in rater.page
        rater.go("consent", rater.fields())
        assert "<em>every</em> description" in rater.page
        rater.go("task/1")
        assert "Task 1 of 5" in rater.page
        rater.finish()
        assert set(rater.tasks) == set(study.tasks)
        assert len(rater.tasks) == 5
        [code] = re.findall(r'id="code">([^<]+)<', rater.page)
        [verdict] = verify_codes(study, [code.lower()])
        assert verdict.valid
        assert verdict.raters == (study.rater("link", "1"),)
        # The link leads to the code from now on.
        rater.go(rater.start)
        assert code in rater.page


def test_answers_leave_in_the_format_of_batch_results(study, shared):
    with (shared / "golden/mturk/Batch_results_A.csv").open(encoding="utf-8", newline="") as file:
        standard = [name for name in next(csv.reader(file)) if not name.startswith(("Input.", "Answer."))]
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()
        rater.answer(rating_1="5", best="none", comment='a "quoted",\r\nsecond line é 🙂', seconds="0.1")
        rater.answer(comment="=1+1\x00")
        text = request(port, f"/a/{slug(study)}/{admin_token(study)}/results.csv").text
    assert text == results_csv(study)
    rows = table(text)
    names = list(rows[0])
    assert [name for name in names if not name.startswith(("Input.", "Answer."))] == standard
    assert names[:27] == standard[:27]
    assert names[-2:] == ["Approve", "Reject"]
    first, second = rows
    assert first["Answer.rating_1"] == "5"
    assert first["Answer.best"] == "none"
    assert first["Answer.comment"] == 'a "quoted",\nsecond line é 🙂'
    assert second["Answer.comment"] == "=1+1"
    assert first["Input.task_id"] == rater.tasks[0]
    assert first["Input.design"] == study.design
    assert first["WorkerId"] == study.rater("link", "1")
    assert first["AssignmentStatus"] == "Submitted"
    assert re.fullmatch(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}", first["SubmitTime"])
    assert float(first["WorkTimeInSeconds"]) <= 0.1
    assert first["AssignmentId"] != second["AssignmentId"]


def test_a_second_answer_to_a_task_changes_nothing(study):
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()
        form = {**rater.fields(), **rater.values(), "rating_1": "1"}
        path = rater.path
        assert rater.go("../answer", form).status == 200
        following = rater.path
        rater.path = path
        assert rater.go("../answer", {**form, "rating_1": "5"}).status == 200
        assert rater.path == following
    [row] = read_rows(study)[1]
    assert row.values["rating_1"] == "1"


def test_a_rater_resumes_and_sees_answered_tasks_as_answered(study):
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()
        rater.answer()
        rater.answer()
        open_task = rater.task
        again = Rater(port, address(study))
        again.go(again.start)
        assert again.task == open_task
        again.go("1")
        assert "You have answered this task" in again.page
        again.go("99")
        assert again.path.endswith("/task/3")
        assert again.task == open_task


def test_a_server_that_starts_again_knows_everything(study):
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()
        rater.answer()
        open_task = rater.task
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.go(rater.start)
        assert rater.task == open_task
        assert "Task 2 of 5" in rater.page


def test_an_incomplete_answer_is_shown_again_with_what_was_entered(study):
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()
        task = rater.task
        reply = rater.answer(rating_2="", best="", comment="kept <b>")
        assert reply.status == 422
        assert "Please rate every description" in reply.text
        assert "Please choose the best description" in reply.text
        assert "kept &lt;b&gt;" in reply.text
        assert re.search(r'name="rating_1" value="1" required checked', reply.text)
        assert rater.task == task
        rater.path = rater.path.replace("answer", "task/1")
        for wrong in ({"rating_1": "6"}, {"rating_1": "٣"}, {"best": "5"}, {"comment": "x" * 2001}):
            assert rater.answer(**wrong).status == 422
            rater.path = rater.path.replace("answer", "task/1")
        assert not read_rows(study)[1]
        assert rater.answer().status == 200


def test_each_task_gets_its_answers_and_checks_go_to_every_rater(tmp_path):
    study = small_study(tmp_path / "study", units=6, checks=1, raters_per_task=2, repeats=1)
    with serving(study) as port:
        raters = [Rater(port, address(study, number)) for number in range(4)]
        for rater in raters:
            rater.join()
        for _ in range(12):
            for rater in raters:
                if rater.task:
                    rater.answer()
        assert all("completion code" in rater.page for rater in raters)
    roles = {task: rows[0].role for task, rows in study.key.items()}
    counts = Counter(row.task for row in read_rows(study)[1])
    assert {counts[task] for task, role in roles.items() if role == "unit"} == {2}
    [check] = [task for task, role in roles.items() if role == "attention"]
    assert counts[check] == 4
    for rater in raters:
        assert len(set(rater.tasks)) == len(rater.tasks)


def test_a_study_of_single_images_is_answered_with_yes_and_no(tmp_path):
    study = small_study(tmp_path / "study", kind="correlation", units=3)
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()
        assert rater.answer(fits="maybe").status == 422
        rater.path = rater.path.replace("answer", "task/1")
        rater.answer(fits="no")
        rater.finish()
    rows = table(results_csv(study))
    assert [row["Answer.fits"] for row in rows] == ["no", "yes", "yes", "yes"]
    assert "Answer.best" not in rows[0]


def test_two_studies_on_one_server_are_separate(tmp_path):
    first = small_study(tmp_path / "first", units=2, checks=0)
    second = small_study(tmp_path / "second", units=2, checks=0, seed=1)
    with serving(first, second) as port:
        rater = Rater(port, address(first))
        rater.join()
        rater.finish()
        assert "completion code" in rater.page
        other = Rater(port, address(second))
        other.join()
        assert "Task 1 of 2" in other.page
        crossed = address(first).replace(slug(first), slug(second))
        assert request(port, crossed).status == 404


def test_a_study_is_served_by_one_process(study):
    with serving(study), pytest.raises(InputError, match="served by another process"):
        Store(study, read_only_settings())


def read_only_settings():
    from dissectbench.results.studies.server import PageSettings

    return PageSettings()


def test_the_list_of_raters_is_for_payments(study):
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()
        rater.finish()
        Rater(port, address(study, 2)).join()
    finished, other = table(raters_csv(study))
    assert (finished["source"], finished["answers"]) == ("link", "5")
    assert verify_codes(study, [finished["completion_code"]])[0].valid
    assert (other["answers"], other["completion_code"]) == ("0", "")
