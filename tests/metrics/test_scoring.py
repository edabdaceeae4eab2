"""Scoring descriptions: the rows, reasons and controls of the score table."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.datasets.references import References
from dissectbench.harness.errors import InputError
from dissectbench.harness.records import Description, UnitId
from dissectbench.harness.scores import COLUMNS, read_scores, reserved_prefix, write_scores
from dissectbench.metrics.accuracy import ExactAccuracy, SynonymAccuracy
from dissectbench.metrics.metric import Metric
from dissectbench.metrics.scoring import score_descriptions
from dissectbench.metrics.unscored import Prediction

NAMES = ("tench, Tinca tinca", "goldfish", "great white shark", "hen", "ostrich", "brambling")
REFERENCES = References("birds and fish", tuple((name,) for name in NAMES))
METRICS = [ExactAccuracy(), SynonymAccuracy()]


def unit(index, layer="fc"):
    return UnitId("resnet", layer, index)


def predictions_of(texts, method="method"):
    return [Prediction(unit(index), method, text) for index, text in enumerate(texts)]


def rows(table, method, metric="synonym_accuracy"):
    return table[(table.method == method) & (table.metric == metric)].set_index("unit")


def test_one_row_per_method_unit_and_metric_with_its_controls():
    table = score_descriptions(
        predictions_of(NAMES, "a") + predictions_of(NAMES, "b"), REFERENCES, METRICS
    )
    methods = ["a", "b", "constant: depiction", "shuffled: a", "shuffled: b"]
    assert list(table.method.unique()) == methods
    assert len(table) == len(methods) * len(NAMES) * len(METRICS)
    assert not table.duplicated(["unit", "method", "metric"]).any()
    assert list(table.columns) == list(COLUMNS)
    assert table[table.control].method.unique().tolist() == methods[2:]
    assert table.score.dtype == np.float64
    assert set(table.target) == {"resnet"}
    assert set(table.layer) == {"fc"}


def test_predictions_and_references_are_joined_by_unit_not_by_order():
    predictions = predictions_of(["tench", "goldfish", "shark", "hen", "emu", "brambling"])
    table = score_descriptions(predictions, REFERENCES, METRICS)
    backwards = score_descriptions(predictions[::-1], REFERENCES, METRICS)
    assert rows(table, "method").score.tolist() == [1, 1, 0, 1, 0, 1]
    pd.testing.assert_frame_equal(table, backwards)


def test_a_unit_that_cannot_be_scored_has_rows_with_the_reason():
    predictions = [
        Prediction(unit(0), "method", "tench"),
        Prediction(unit(1), "method", None, "dead"),
        Prediction(unit(2), "method", None, "failed"),
        Prediction(unit(3), "method", None, "below_threshold"),
        Prediction(unit(4), "method", None, "missing"),
        Prediction(unit(9), "method", "a unit beyond the references"),
    ]
    table = rows(score_descriptions(predictions, REFERENCES, METRICS), "method")
    missing, below, unnamed = "missing", "below_threshold", "no reference"
    assert table.reason.to_dict() == {
        **{0: None, 1: "dead", 2: "failed", 3: below},
        **{4: missing, 5: missing, 9: unnamed},
    }
    assert table.status.tolist() == ["ok", "dead", "failed", below, missing, missing, "ok"]
    assert table.references[9] == ()
    assert (table.score.isna() == table.reason.notna()).all()


@pytest.mark.parametrize("text", ["", " ", "-", '"..."', None])
def test_a_text_without_a_letter_or_digit_is_missing_and_never_scored(text):
    class Strict(Metric):
        name = "strict"

        def score(self, predictions, references):
            assert text not in predictions
            return np.ones(len(predictions))

    table = score_descriptions(predictions_of(["tench", text, "hen"]), REFERENCES, [Strict()])
    row = rows(table, "method", "strict").loc[1]
    assert (row.status, row.reason) == ("missing", "missing")
    assert np.isnan(row.score)


def test_only_the_units_asked_for_are_in_the_table():
    table = score_descriptions(predictions_of(NAMES), REFERENCES, METRICS, units=[3, 1])
    assert set(table.unit) == {1, 3}
    assert rows(table, "shuffled: method").prediction.tolist() == [NAMES[3], NAMES[1]]


def test_several_references_of_a_unit_are_in_one_row_and_the_best_counts():
    references = References("synonyms", (("tench", "Tinca tinca"), ("goldfish",)))
    table = score_descriptions(predictions_of(["tinca tinca", "carp"]), references, METRICS)
    assert rows(table, "method").references.tolist() == [("tench", "Tinca tinca"), ("goldfish",)]
    assert rows(table, "method", "exact_accuracy").score.tolist() == [1, 0]


def test_the_constant_control_gives_every_unit_the_same_text():
    predictions = [Prediction(unit(0), "method", "tench"), Prediction(unit(1), "method", None, "dead")]
    table = rows(
        score_descriptions(predictions, REFERENCES, METRICS, control_text="hen"), "constant: hen"
    )
    assert set(table.prediction) == {"hen"}
    assert table.score.tolist() == [0, 0, 0, 1, 0, 0]


@settings(max_examples=30, deadline=None)
@given(described=st.sets(st.integers(0, 5), min_size=2), seed=st.integers(0, 99))
def test_the_shuffled_control_gives_every_unit_the_text_of_another(described, seed):
    predictions = [Prediction(unit(index), "method", NAMES[index]) for index in described]
    table = score_descriptions(predictions, REFERENCES, [ExactAccuracy()], seed=seed)
    own, shuffled = (
        rows(table, "method", "exact_accuracy"),
        rows(table, "shuffled: method", "exact_accuracy"),
    )
    has_text = own.status == "ok"
    assert Counter(shuffled.prediction[has_text]) == Counter(own.prediction[has_text])
    assert (shuffled.prediction[has_text] != own.prediction[has_text]).all()
    assert shuffled.status.tolist() == own.status.tolist()
    assert shuffled.score[has_text].sum() == 0


def test_the_shuffle_depends_on_the_seed_but_not_on_other_methods():
    names = tuple(f"word{index}" for index in range(50))
    references = References("words", tuple((name,) for name in names))

    def shuffled(predictions, seed):
        table = score_descriptions(predictions, references, [ExactAccuracy()], seed=seed)
        return rows(table, "shuffled: a", "exact_accuracy").prediction.tolist()

    alone = shuffled(predictions_of(names, "a"), seed=3)
    assert shuffled(predictions_of(names[::-1], "b") + predictions_of(names, "a"), seed=3) == alone
    assert shuffled(predictions_of(names, "a"), seed=4) != alone


def test_a_single_description_cannot_be_shuffled():
    predictions = [Prediction(unit(0), "method", "tench")]
    table = rows(score_descriptions(predictions, REFERENCES, METRICS), "shuffled: method")
    assert set(table.status) == {"missing"}
    assert set(table.prediction) == {None}


def test_the_table_is_the_same_after_a_parquet_file(tmp_path):
    predictions = [Prediction(unit(0), "method", "tench"), Prediction(unit(1), "method", None, "dead")]
    table = score_descriptions(predictions, REFERENCES, METRICS)
    write_scores(table, tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.parquet"), table)


@pytest.mark.parametrize("name", ["constant: words", "shuffled: a", " Constant:x"])
def test_a_method_named_like_a_control_is_refused(name):
    with pytest.raises(InputError, match="reserved for controls"):
        score_descriptions(predictions_of(NAMES, name), REFERENCES, METRICS)


def test_every_control_has_a_reserved_name():
    table = score_descriptions(predictions_of(NAMES, "constants"), REFERENCES, METRICS)
    reserved = table.method.map(reserved_prefix).notna()
    assert reserved.tolist() == table.control.tolist()


def test_every_distinct_text_reaches_a_metric_in_one_call():
    calls = []

    class Counting(ExactAccuracy):
        def score_pairs(self, pairs):
            calls.append(list(pairs))
            return super().score_pairs(pairs)

    score_descriptions(
        predictions_of(["hen"] * 6, "a") + predictions_of(["hen"] * 6, "b"), REFERENCES, [Counting()]
    )
    [pairs] = calls
    assert len(pairs) == len(set(pairs)) == 12  # six references, with "hen" and with "depiction"


def test_records_become_predictions():
    record = Description(unit(2), "clip_dissect", "shark", score=0.3)
    assert Prediction.of(record) == Prediction(unit(2), "clip_dissect", "shark", "ok")


def test_a_unit_described_twice_by_one_method_is_an_error():
    predictions = [*predictions_of(["tench"]), *predictions_of(["goldfish"])]
    with pytest.raises(InputError, match="method describes unit 0 twice"):
        score_descriptions(predictions, REFERENCES, METRICS)


def test_a_control_text_without_a_letter_or_digit_is_an_error():
    with pytest.raises(InputError, match=r"table\.control_text"):
        score_descriptions(predictions_of(NAMES), REFERENCES, METRICS, control_text=" ")


@pytest.mark.parametrize(
    "predictions", [[], [*predictions_of(["a"]), Prediction(unit(1, "layer4"), "method", "b")]]
)
def test_exactly_one_layer_is_scored_at_a_time(predictions):
    with pytest.raises(ValueError, match="exactly one layer"):
        score_descriptions(predictions, REFERENCES, METRICS)


def test_two_metrics_with_the_same_name_are_an_error():
    with pytest.raises(ValueError, match="different names"):
        score_descriptions(predictions_of(NAMES), REFERENCES, [ExactAccuracy(), ExactAccuracy()])


def test_a_score_that_is_not_finite_is_an_error():
    class Broken(ExactAccuracy):
        def score_pairs(self, pairs):
            return np.full(len(pairs), np.nan)

    with pytest.raises(ValueError, match="exact_accuracy returned nan"):
        score_descriptions(predictions_of(NAMES), REFERENCES, [Broken()])
