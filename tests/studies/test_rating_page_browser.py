"""People use the rating page in a browser: by keyboard, by mouse, on a phone, with interruptions."""

import csv
import io
from collections import Counter

import pytest
from browser import EXECUTABLE, Page
from rating_server import address, serving
from small_study import small_study

from dissectbench.results.studies.server.results import results_csv
from dissectbench.results.studies.server.store import read_rows
from dissectbench.results.studies.server.tokens import admin_token, slug

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed"),
]


def rows(study):
    return list(csv.DictReader(io.StringIO(results_csv(study), newline="")))


def join(page, url):
    """Opens a link, consents and loads the first task, by the keyboard alone."""
    page.visit(url)
    page.leave(lambda: page.press("Enter"))
    page.leave(lambda: page.press("Enter"))


def number(page):
    return page.run("document.title")


def answer_by_keyboard(page, ratings="4512", best="2"):
    for key in ratings + best:
        page.press(key)
    page.leave(lambda: page.press("Enter"))


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", units=10, checks=0, repeats=0)


def test_ten_tasks_by_the_keyboard(study, tmp_path):
    with serving(study) as port:
        page = Page(tmp_path / "profile")
        join(page, f"http://127.0.0.1:{port}{address(study)}")
        for task in range(1, 11):
            assert number(page).startswith(f"Task {task} of 10")
            answer_by_keyboard(page)
        assert "completion code" in page.run("document.body.innerText")
        assert not page.problems
        page.close()
    answers = rows(study)
    assert len({row["Input.task_id"] for row in answers}) == len(answers) == 10
    for row in answers:
        assert [row[f"Answer.rating_{slot}"] for slot in range(1, 5)] == list("4512")
        assert row["Answer.best"] == "2"
        assert 0 < float(row["WorkTimeInSeconds"]) < 20


def test_ten_tasks_by_the_mouse(study, tmp_path):
    with serving(study) as port:
        page = Page(tmp_path / "profile", height=700)
        page.visit(f"http://127.0.0.1:{port}{address(study)}")
        page.leave(lambda: page.click("button"))
        page.leave(lambda: page.click("a.button"))
        for task in range(10):
            for slot in range(1, 5):
                page.click(f"[name=rating_{slot}][value='{1 + (slot + task) % 5}']")
            page.click("[name=best][value=none]" if task % 2 else "[name=best][value='3']")
            if task == 0:
                page.click("summary")
                page.click("textarea")
                # Keys in a comment are text.
                for key in "1y0":
                    page.press(key)
            page.leave(lambda: page.click("button.primary"))
        assert "completion code" in page.run("document.body.innerText")
        assert not page.problems
        page.close()
    answers = rows(study)
    assert [row["Answer.best"] for row in answers] == ["3", "none"] * 5
    assert [row["Answer.comment"] for row in answers] == ["1y0"] + [""] * 9
    for task, row in enumerate(answers):
        expected = [str(1 + (slot + task) % 5) for slot in range(1, 5)]
        assert [row[f"Answer.rating_{slot}"] for slot in range(1, 5)] == expected


def test_a_closed_browser_the_back_button_and_a_double_submit_lose_and_double_nothing(study, tmp_path):
    with serving(study) as port:
        url = f"http://127.0.0.1:{port}{address(study)}"
        page = Page(tmp_path / "profile")
        join(page, url)
        answer_by_keyboard(page)
        answer_by_keyboard(page)
        page.press("3")
        open_task = page.run("document.querySelector('[name=task_id]').value")
        page.close()
        page = Page(tmp_path / "other profile")
        page.visit(url)
        assert number(page).startswith("Task 3 of 10")
        assert page.run("document.querySelector('[name=task_id]').value") == open_task
        assert page.run("document.querySelectorAll(':checked').length") == 0
        answer_by_keyboard(page)
        page.back()
        assert "You have answered this task" in page.run("document.body.innerText")
        page.leave(lambda: page.click("a.button"))
        assert number(page).startswith("Task 4 of 10")
        for key in "11111":
            page.press(key)
        # Both submits may reach the server: `submit` passes by the script, which would stop the second.
        page.leave(
            lambda: page.run("form = document.querySelector('form'); form.requestSubmit(); form.submit()")
        )
        assert number(page).startswith("Task 5 of 10")
        assert not page.problems
        page.close()
    counts = Counter(row.task for row in read_rows(study)[1])
    assert len(counts) == 4
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_images_stay_visible_and_nothing_is_wider_than_the_screen(study, tmp_path, dark):
    with serving(study) as port:
        page = Page(tmp_path / "profile", width=400, height=700, dark=dark)
        join(page, f"http://127.0.0.1:{port}{address(study)}")
        assert page.run("document.documentElement.scrollWidth") <= 400
        for slot in range(1, 5):
            page.click(f"[name=rating_{slot}][value='5']")
            assert page.run("document.querySelector('.images').getBoundingClientRect().top") >= 0
        page.click("[name=best][value='4']")
        # Every control is large enough for a thumb.
        heights = page.run("[...document.querySelectorAll('.choices label')].map((e) => e.clientHeight)")
        assert min(heights) >= 36
        page.leave(lambda: page.click("button.primary"))
        assert number(page).startswith("Task 2 of 10")
        assert not page.problems
        page.close()


def test_at_a_usual_size_a_task_needs_no_scrolling(study, tmp_path):
    with serving(study) as port:
        page = Page(tmp_path / "profile", width=1280, height=720)
        join(page, f"http://127.0.0.1:{port}{address(study)}")
        assert page.run("document.documentElement.scrollHeight") <= 720
        assert page.run(
            "[...document.images].every((e) => e.getAttribute('src') === null || e.naturalWidth > 0)"
        )
        page.close()


def test_keys_move_between_descriptions_and_an_incomplete_answer_is_not_sent(study, tmp_path):
    with serving(study) as port:
        page = Page(tmp_path / "profile")
        join(page, f"http://127.0.0.1:{port}{address(study)}")
        marked = "document.querySelector('.current').dataset.slot"
        assert page.run(marked) == "1"
        page.press("ArrowDown")
        assert page.run(marked) == "2"
        page.press("3")
        assert page.run(marked) == "3"
        page.press("ArrowUp")
        page.press("5")
        page.press("Enter")
        assert number(page).startswith("Task 1")
        assert not read_rows(study)[1]
        for key in "125":
            page.press(key)
        # The first was left out above and is next; then the best: none of them.
        page.press("0")
        page.leave(lambda: page.press("Enter"))
        page.close()
    [row] = read_rows(study)[1]
    assert [row.values[f"rating_{slot}"] for slot in range(1, 5)] == ["5", "5", "1", "2"]
    assert row.values["best"] == "none"


def test_an_image_is_enlarged_and_closed_without_leaving_the_task(study, tmp_path):
    with serving(study) as port:
        page = Page(tmp_path / "profile")
        join(page, f"http://127.0.0.1:{port}{address(study)}")
        page.click(".images a")
        page.wait("document.querySelector('dialog').open")
        page.press("4")  # keys do not rate behind the image
        page.click("dialog img")
        page.wait("!document.querySelector('dialog').open")
        assert page.run("document.querySelectorAll(':checked').length") == 0
        assert not page.problems
        page.close()


def test_single_images_are_answered_by_one_key_or_one_click(tmp_path):
    study = small_study(tmp_path / "study", kind="correlation", units=4, checks=0)
    with serving(study) as port:
        page = Page(tmp_path / "profile")
        join(page, f"http://127.0.0.1:{port}{address(study)}")
        page.leave(lambda: page.press("y"))
        page.leave(lambda: page.press("N"))
        page.press("ArrowLeft")
        page.leave(lambda: page.press("Enter"))
        page.leave(lambda: page.click("[name=fits][value=no]"))
        assert "completion code" in page.run("document.body.innerText")
        assert not page.problems
        page.close()
    assert [row["Answer.fits"] for row in rows(study)] == ["yes", "no", "yes", "no"]


def test_without_a_script_the_form_works(study, tmp_path):
    with serving(study) as port:
        page = Page(tmp_path / "profile")
        page._send("Emulation.setScriptExecutionDisabled", value=True)
        page.visit(f"http://127.0.0.1:{port}{address(study)}")
        page.leave(lambda: page.click("button"))
        page.leave(lambda: page.click("a.button"))
        for slot in range(1, 5):
            page.click(f"[name=rating_{slot}][value='2']")
        page.click("[name=best][value='1']")
        page.leave(lambda: page.click("button.primary"))
        assert number(page).startswith("Task 2 of 10")
        page.close()
    [row] = read_rows(study)[1]
    assert row.values["rating_4"] == "2"
    assert row.seconds > 0


def test_the_admin_page_shows_the_progress(study, tmp_path):
    with serving(study) as port:
        page = Page(tmp_path / "profile")
        for rater in (1, 2):
            join(page, f"http://127.0.0.1:{port}{address(study, rater)}")
            for _ in range(10):
                answer_by_keyboard(page)
        page.visit(f"http://127.0.0.1:{port}/a/{slug(study)}/{admin_token(study)}/")
        text = page.run("document.body.innerText")
        assert "20 of 30" in text
        assert "2 (2 finished)" in text
        assert "100 %" in text
        assert not page.problems
        page.close()
