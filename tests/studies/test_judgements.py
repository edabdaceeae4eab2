"""Rules drop answers in the stated order; the reference study has the expected counts and means."""

import json
from collections import defaultdict
from typing import cast

import numpy as np
import pytest
from golden_study import golden_study, rows

from dissectbench.results.studies import Answer, Rules, judge
from dissectbench.results.studies.answers import Status


@pytest.fixture(scope="module")
def golden(shared):
    return shared / "golden" / "mturk"


@pytest.fixture(scope="module")
def study(golden, tmp_path_factory):
    return golden_study(golden, tmp_path_factory.mktemp("study") / "golden")


@pytest.fixture(scope="module")
def answers(golden, study):
    return [
        Answer(
            source="mturk",
            assignment_id=row["AssignmentId"],
            task_id=row["Input.task_id"],
            rater=study.rater("mturk", row["WorkerId"]),
            status=cast("Status", row["AssignmentStatus"].lower()),
            seconds=float(row["WorkTimeInSeconds"]),
            submitted=row["SubmitTime"],
            values={name[7:]: value for name, value in row.items() if name.startswith("Answer.")},
            origin="",
            file="",
        )
        for row in rows(golden / "Batch_results_A.csv")
    ]


@pytest.fixture(scope="module")
def expected(golden):
    return json.loads((golden / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("rules", "dropped", "results"),
    [
        (Rules(), "dropped", "results"),
        (Rules(too_fast=10), "dropped_without_too_fast", "results_without_too_fast"),
    ],
)
def test_the_reference_study_has_the_expected_counts_and_means(
    study, answers, expected, rules, dropped, results
):
    judgements = judge(study, answers, rules)
    names = {
        "rejected": "rejected",
        "duplicate": "duplicate",
        "failed_worker": "failed_checks",
        "attention_hits": "check_tasks",
        "too_fast": "too_fast",
    }
    assert {name: judgements.dropped.get(own, 0) for name, own in names.items()} == expected[dropped]
    ratings = defaultdict(list)
    best = defaultdict(list)
    for judgement in judgements.accepted:
        for layer in (judgement.layer, "all"):
            for method, rating in judgement.ratings.items():
                ratings[layer, method].append(rating)
            if judgement.best is not None:
                best[layer].append(judgement.best)
    for layer, methods in expected[results].items():
        for method, want in methods.items():
            if method == "_counts":
                continue
            values = np.array(ratings[layer, method], float)
            chosen = sum(method in methods for methods in best[layer])
            assert len(values) == want["n_ratings"]
            assert values.mean() == pytest.approx(want["mean_rating"], abs=1e-9)
            assert chosen == want["times_best"]
            assert 100 * chosen / len(best[layer]) == pytest.approx(
                want["percent_best_none_in_denominator"], abs=1e-9
            )


def test_accepted_judgements_name_the_methods_of_the_key(study, answers, expected):
    accepted = {j.assignment[1]: j for j in judge(study, answers).accepted}
    assert len(accepted) == len(expected["accepted_judgements"])
    for want in expected["accepted_judgements"]:
        judgement = accepted[want["assignment_id"]]
        assert dict(judgement.ratings) == {m: r for m, r in want["ratings"].items() if r is not None}
        if want["best_method"] not in (None, "none", ""):
            assert judgement.best == (want["best_method"],)
