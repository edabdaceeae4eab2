"""Measures equal the reference implementation, and brute force where there are ties."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.metrics.activation.measures import MEASURES, Compared

GOLDEN_NAMES = {"pearson": "correlation", "wpmi_lambda1": "wpmi"}
UNDEFINED = (
    "auc",
    "inverse_auc",
    "inverse_auprc",
    "mad",
    "pearson",
    "spearman",
    "cosine",
    "wpmi_lambda1",
)


@pytest.fixture(scope="module")
def golden(shared):
    path = shared / "golden" / "neuron_eval_metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))


def measured(name, values, presence, top):
    pairs = Compared(np.atleast_2d(values).astype(float), np.atleast_2d(presence).astype(float), top)
    return MEASURES[GOLDEN_NAMES.get(str(name), str(name))](pairs)


def test_the_reference_cases(golden):
    checked = 0
    for case in golden["cases"]:
        for name, want in case["expected"].items():
            if name.endswith("_reference_scaled"):
                continue
            got = measured(name, case["activations"], case["concept_scores"], case["alpha"])[0]
            if np.isnan(got):
                assert case["degenerate"], (case["id"], name)
                assert name in UNDEFINED, (case["id"], name)
                continue
            tolerance = 2e-5 if name in ("wpmi_lambda1", "mad") else 1e-5
            assert got == pytest.approx(want, abs=tolerance), (case["id"], name)
            checked += 1
    assert checked > 150


def test_the_reference_matrices(golden):
    for case in golden["matrix_cases"]:
        values, presence = np.array(case["activations"]).T, np.array(case["concept_scores"]).T
        rows = [(u, m) for u in range(len(values)) for m in range(len(presence))]
        for name, want in case["expected"].items():
            if name.endswith("_reference_scaled"):
                continue
            got = measured(
                name, values[[u for u, _ in rows]], presence[[m for _, m in rows]], case["alpha"]
            )
            tolerance = 2e-5 if name in ("wpmi_lambda1", "mad") else 1e-5
            np.testing.assert_allclose(got, np.array(want).ravel(), atol=tolerance)


small = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=12)


@given(small, st.sampled_from([0.1, 0.3, 0.5]))
def test_ties_count_like_all_pairs_and_all_thresholds(rows, top):
    values, presence = np.array(rows, float).T
    presence = presence / 3
    least = np.sort(values)[::-1][int(np.ceil(top * len(values))) - 1]
    active = values >= least
    wins = [
        (p > q) + 0.5 * (p == q)
        for p, a in zip(presence, active, strict=True)
        if a
        for q, b in zip(presence, active, strict=True)
        if not b
    ]
    got = measured("auc", values, presence, top)[0]
    assert np.isnan(got) if not wins else got == pytest.approx(np.mean(wins))
    area, recall = 0.0, 0.0
    for threshold in sorted(set(presence), reverse=True):
        chosen = presence >= threshold
        found = (chosen & active).sum()
        area += (found / active.sum() - recall) * found / chosen.sum()
        recall = found / active.sum()
    assert measured("auprc", values, presence, top)[0] == pytest.approx(area)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_a_pair_does_not_depend_on_the_other_pairs(name):
    random = np.random.default_rng(0)
    values, presence = random.normal(size=(5, 333)), random.uniform(size=(5, 333))
    together = measured(name, values, presence, 0.05)
    alone = [measured(name, a, c, 0.05)[0] for a, c in zip(values, presence, strict=True)]
    np.testing.assert_array_equal(together, alone)
