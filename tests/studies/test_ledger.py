"""Which task a rater is given next: counts, checks, repeats, people who leave."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.results.studies.server import PageSettings
from dissectbench.results.studies.server.ledger import Ledger, Roles

MINUTE = 60.0


def ledger(units=6, checks=1, repeats=None, wanted=2, **page):
    roles = Roles(
        tuple(f"u{k}" for k in range(units)), tuple(f"c{k}" for k in range(checks)), repeats or {}
    )
    return Ledger(roles, PageSettings(**page), wanted, seed=0)


def answer(book, rater, now=0.0):
    """Answers the next task of a rater and returns it."""
    following = book.next(rater, now)
    if following.task is not None:
        book.shown(rater, following.task, now)
        assert book.answered(rater, following.task)
    return following.task


def all_answers(book, rater, now=0.0):
    tasks = []
    while (task := answer(book, rater, now)) is not None:
        tasks.append(task)
    return tasks


@settings(max_examples=60, deadline=None)
@given(
    units=st.integers(1, 12),
    checks=st.integers(0, 3),
    wanted=st.integers(1, 3),
    quota=st.integers(1, 15),
    order=st.lists(st.integers(0, 5), max_size=120),
)
def test_no_task_twice_no_more_answers_than_wanted_and_never_more_than_the_quota(
    units, checks, wanted, quota, order
):
    book = ledger(units, checks, {"u0": ("r0",)}, wanted, tasks_per_rater=quota, repeat_after=2)
    given_to = {str(rater): [] for rater in range(6)}
    for rater in map(str, order):
        before = book.next(rater, 0.0)
        task = answer(book, rater)
        if task is None:
            assert before.answered == before.total
            continue
        assert before.answered < before.total <= quota
        given_to[rater].append(task)
    counts = Counter(task for tasks in given_to.values() for task in tasks)
    assert all(counts[f"u{k}"] <= wanted for k in range(units))
    for tasks in given_to.values():
        assert len(set(tasks)) == len(tasks) <= quota
        if "r0" in tasks:
            assert "u0" in tasks[: tasks.index("r0")]


@settings(max_examples=40, deadline=None)
@given(units=st.integers(1, 12), checks=st.integers(0, 3), wanted=st.integers(1, 3))
def test_enough_raters_one_after_another_complete_every_task(units, checks, wanted):
    book = ledger(units, checks, wanted=wanted, tasks_per_rater=5)
    counts = Counter(task for rater in range(60) for task in all_answers(book, str(rater)))
    assert {counts[f"u{k}"] for k in range(units)} == {wanted}


def test_a_task_on_a_screen_is_given_to_others_only_after_the_timeout():
    book = ledger(units=1, checks=0, wanted=1, timeout_minutes=30)
    book.shown("anna", "u0", now=0.0)
    assert book.next("ben", 29 * MINUTE).task is None
    assert book.next("ben", 31 * MINUTE).task == "u0"
    # The first rater still has it, and a later answer of either is kept.
    assert book.next("anna", 31 * MINUTE).task == "u0"
    assert answer(book, "ben", 31 * MINUTE) == "u0"
    assert book.next("anna", 32 * MINUTE).task is None
    assert book.answered("anna", "u0")
    assert not book.answered("anna", "u0")


def test_a_rater_who_was_done_may_continue_when_a_task_is_open_again():
    book = ledger(units=1, checks=0, wanted=1)
    book.shown("anna", "u0", now=0.0)
    assert book.next("ben", 1.0).task is None
    assert book.next("ben", 60 * MINUTE).task == "u0"


def test_every_rater_gets_all_checks_of_a_study_that_fits_into_one_sitting():
    book = ledger(units=20, checks=3, wanted=5)
    for rater in "abcde":
        tasks = all_answers(book, rater)
        assert {"c0", "c1", "c2"} <= set(tasks)
        assert len(tasks) == 23


def test_checks_are_spread_over_the_tasks_of_a_rater_at_places_that_differ():
    places = []
    for rater in "abcdefgh":
        tasks = all_answers(ledger(units=30, checks=3, wanted=1), rater)
        positions = [k for k, task in enumerate(tasks) if task.startswith("c")]
        assert [position // 11 for position in positions] == [0, 1, 2]
        places.append(tuple(positions))
    assert len(set(places)) > 4


def test_a_rater_of_few_tasks_gets_checks_in_proportion_but_at_least_one():
    tasks = all_answers(ledger(units=200, checks=10, tasks_per_rater=20), "a")
    assert len(tasks) == 20
    assert sum(task.startswith("c") for task in tasks) == 1


def test_nobody_answers_checks_alone():
    book = ledger(units=1, checks=2, wanted=1)
    all_answers(book, "anna")
    assert book.next("ben", 0.0).task is None


def test_a_repeat_is_shown_after_other_tasks_or_at_the_end():
    tasks = all_answers(ledger(units=9, checks=0, repeats={"u3": ("r3",)}, repeat_after=4), "a")
    distance = tasks.index("r3") - tasks.index("u3")
    assert distance > 4 or tasks[-1] == "r3"
    assert all_answers(ledger(units=1, checks=0, repeats={"u0": ("r0",)}), "a") == ["u0", "r0"]


def test_tasks_with_the_fewest_answers_come_first():
    book = ledger(units=4, checks=0, wanted=3)
    first = {answer(book, rater) for rater in "abcd"}
    assert first == {"u0", "u1", "u2", "u3"}
