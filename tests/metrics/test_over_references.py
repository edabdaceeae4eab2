"""Units with several references: the best score or the mean counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.metrics.accuracy import ExactAccuracy
from dissectbench.metrics.over_references import MeanOverReferences
from dissectbench.metrics.pairs import PairMetric

words = st.text("abc", min_size=1, max_size=4)


class SharedLetters(PairMetric):
    """Number of letters that two texts have in common."""

    name = "letters"

    def score_pairs(self, pairs):
        return np.array([len(set(text) & set(other)) for text, other in pairs], np.float64)


class LengthDifference(PairMetric):
    """A distance: the difference in length of two texts."""

    name = "length_difference"
    higher_is_better = False

    def score_pairs(self, pairs):
        return np.array([abs(len(text) - len(other)) for text, other in pairs], np.float64)


@given(st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=4)), max_size=6))
def test_the_mean_is_that_of_single_references(rows):
    predictions, references = [row[0] for row in rows], [row[1] for row in rows]
    means = MeanOverReferences(SharedLetters()).score(predictions, references)
    expected = [np.mean([len(set(text) & set(other)) for other in others]) for text, others in rows]
    np.testing.assert_allclose(means, expected)
    assert np.all(means <= SharedLetters().score(predictions, references))


def test_the_column_is_named_after_metric_and_reduction():
    metric = MeanOverReferences(ExactAccuracy())
    assert metric.name == "exact_accuracy_mean"
    assert metric.identity()["over references"] == "mean"
    assert metric.identity() != ExactAccuracy().identity()
    assert metric.score(["dog"], [["dog", "cat", "dog"]]).tolist() == [2 / 3]


def test_direction_and_percent_are_those_of_the_metric():
    for metric in (SharedLetters(), ExactAccuracy(), LengthDifference()):
        mean = MeanOverReferences(metric)
        assert (mean.higher_is_better, mean.percent) == (metric.higher_is_better, metric.percent)
    assert MeanOverReferences(LengthDifference()).score(["ab"], [["a", "abcd"]]).tolist() == [1.5]


def test_the_nearest_reference_counts_for_a_distance():
    scores = LengthDifference().score(["ab", "abc"], [["abcd", "a", "abcde"], ["abc", "abcdef"]])
    assert scores.tolist() == [1, 0]


def test_invalid_arguments_are_errors_as_in_other_metrics():
    metric = MeanOverReferences(ExactAccuracy())
    with pytest.raises(ValueError, match="has no reference"):
        metric.score(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="2 predictions"):
        metric.score(["a", "b"], [["a"]])
    with pytest.raises(TypeError):
        metric.score("a", [["a"]])
