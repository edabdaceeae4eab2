"""Network Dissection against reference counts, labels, detector counts and published tables."""

import copy
import csv
import json
from typing import Any

import numpy as np
import pytest

from dissectbench.datasets.broden import Broden
from dissectbench.datasets.probing_set import Annotations, ImageAnnotation
from dissectbench.harness.cache import Cache
from dissectbench.harness.probe import ArrayLayer
from dissectbench.methods.network_dissection.detectors import best_labels, detectors
from dissectbench.methods.network_dissection.network_dissection import NetworkDissection
from dissectbench.methods.network_dissection.tally import Denominator, category_of
from dissectbench.methods.network_dissection.tally_csv import write_tally_csv
from dissectbench.methods.network_dissection.tally_pass import TallySettings, tally_layer

FRACTIONS = {"q005": 0.005, "q050": 0.05}
KINDS = ("conv", "fc")
RULES = {"exact_linear": "linear", "exact_kth": "kth", "lite_hazen": "lite"}
DEFINITIONS: dict[str, Denominator] = {
    "iou_paper": "paper",
    "iou_lite": "lite",
    "iou_all": "all",
    "iou_all_unique": "dissect",
}
by_kind = pytest.mark.parametrize("kind", KINDS)
by_fraction = pytest.mark.parametrize("quantile", FRACTIONS)
by_given_threshold = pytest.mark.parametrize("rule", ["exact_linear", "exact_kth", "lite_sketch"])


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "golden/netdissect"


@pytest.fixture(scope="module")
def broden(folder):
    return Broden(folder / "broden_tiny")


@pytest.fixture(scope="module")
def reference(folder, broden, tmp_path_factory):
    data = np.load(folder / "features.npz")
    root = tmp_path_factory.mktemp("cache")
    return {kind: ArrayLayer(data[kind], broden, Cache(root)) for kind in KINDS}


class WithZeroTokens(Annotations):
    """Broden with the whole-image label 0, which the reader omits."""

    def __init__(self, folder, annotations):
        self.inner = annotations
        self.categories, self.labels = annotations.categories, annotations.labels
        with (folder / "index.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.zeros = [sum(row[c].split(";").count("0") for c in self.categories) for row in rows]

    def of(self, index):
        annotation = self.inner.of(index)
        return ImageAnnotation(
            annotation.shape, annotation.planes, annotation.whole + (0,) * self.zeros[index]
        )

    def fingerprint(self):
        return f"{self.inner.fingerprint()} with zeros"


@pytest.fixture(scope="module")
def with_zeros(folder, broden, reference):
    probe = copy.copy(broden)
    probe.annotations = WithZeroTokens(folder / "broden_tiny", broden.annotations)
    layers = {kind: copy.copy(layer) for kind, layer in reference.items()}
    for layer in layers.values():
        layer.probe = probe
    return layers


@by_kind
@by_fraction
@by_given_threshold
def test_every_count_is_that_of_the_reference(folder, reference, kind, quantile, rule):
    expected = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")
    layer = reference[kind]
    tally = tally_layer(layer, expected["threshold"])
    for name in ("intersection", "truth", "activation_paper", "activation_lite"):
        np.testing.assert_array_equal(getattr(tally, name), expected[name], err_msg=name)
    np.testing.assert_array_equal(tally.activation, expected["activation_all"])
    np.testing.assert_array_equal(tally.intersection_unique, expected["intersection_unique"])
    np.testing.assert_array_equal(tally.truth_unique, expected["truth_unique"])
    for name, definition in DEFINITIONS.items():
        iou = tally.iou(definition, category_of(layer.probe.annotations))
        np.testing.assert_allclose(iou, expected[name], atol=1e-9, rtol=0, err_msg=name)


@by_kind
@by_fraction
@by_given_threshold
def test_label_zero_counts_only_if_enabled_and_then_as_in_the_reference(
    folder, with_zeros, kind, quantile, rule
):
    expected = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")
    layer = with_zeros[kind]
    assert sum(layer.probe.annotations.zeros) == 3
    without = tally_layer(layer, expected["threshold"])
    np.testing.assert_array_equal(without.intersection, expected["intersection"])
    np.testing.assert_array_equal(without.activation_lite, expected["activation_lite"])
    tally = tally_layer(layer, expected["threshold"], TallySettings(count_label_zero=True))
    np.testing.assert_array_equal(tally.intersection, expected["lite_as_published_intersection"])
    np.testing.assert_array_equal(tally.truth, expected["lite_as_published_truth"])
    np.testing.assert_array_equal(tally.activation_lite, expected["lite_as_published_activation"])
    np.testing.assert_array_equal(tally.activation_paper, expected["activation_paper"])
    iou = tally.iou("lite", category_of(layer.probe.annotations))
    np.testing.assert_allclose(iou, expected["lite_as_published_iou"], atol=1e-9, rtol=0)


@by_kind
@by_fraction
@pytest.mark.parametrize("rule", RULES)
def test_thresholds_are_those_of_the_reference(folder, reference, kind, quantile, rule):
    expected = np.load(folder / "thresholds.npz")[f"{kind}_{quantile}_{rule}"]
    setting: Any = RULES[rule]
    thresholds = NetworkDissection(FRACTIONS[quantile], quantile_rule=setting).thresholds(reference[kind])
    np.testing.assert_allclose(thresholds, expected, atol=1e-12, rtol=0)


@by_kind
@by_fraction
@pytest.mark.parametrize("rule", ["exact_linear", "exact_kth"])
def test_counts_with_computed_thresholds_are_those_of_the_reference(
    folder, reference, kind, quantile, rule
):
    expected = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")
    setting: Any = RULES[rule]
    tally = NetworkDissection(FRACTIONS[quantile], quantile_rule=setting).tally(reference[kind])
    for name in ("intersection", "truth", "activation_paper", "activation_lite", "intersection_unique"):
        np.testing.assert_array_equal(getattr(tally, name), expected[name], err_msg=name)


def test_the_official_variant_reads_thresholds_and_counts_as_netdissect_lite(folder, reference):
    for kind in KINDS:
        thresholds = np.load(folder / "thresholds.npz")
        expected = np.load(folder / f"tally_{kind}_q005_lite_sketch.npz")
        method = NetworkDissection(variant="official")
        computed = method.thresholds(reference[kind])
        assert (computed >= thresholds[f"{kind}_q005_lite_bracket_low"] - 1e-9).all()
        assert (computed <= thresholds[f"{kind}_q005_lite_bracket_high"] + 1e-9).all()
        # Within the bracket the sketch's choice is random; it changes pixels of one unit in seventeen.
        tally = method.tally(reference[kind])
        same = (tally.intersection == expected["intersection"]).all(axis=1)
        assert same.sum() >= len(same) - 1
        iou = tally.iou(method.denominator, category_of(reference[kind].probe.annotations))
        np.testing.assert_allclose(iou[same], expected["iou_lite"][same], atol=1e-9)
        np.testing.assert_array_equal(iou.argmax(axis=1), expected["iou_lite"].argmax(axis=1))


@pytest.fixture(scope="module")
def expected_results(folder):
    with (folder / "expected.json").open() as file:
        return json.load(file)["results"]


@by_kind
@by_fraction
@by_given_threshold
def test_best_labels_and_detector_counts_are_those_of_the_reference(
    folder, reference, broden, expected_results, kind, quantile, rule
):
    category, categories = category_of(broden.annotations), broden.annotations.categories
    thresholds = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")["threshold"]
    tally = tally_layer(reference[kind], thresholds)
    for name, definition in DEFINITIONS.items():
        expected = expected_results[f"{kind}_{quantile}_{rule}"][name]
        best = best_labels(tally.iou(definition, category), category, len(categories))
        for unit in expected["units"]:
            assert_best(best, unit, categories)
        counts = detectors(best, categories)
        rule_i, rule_ii = expected["rule_i_per_category"], expected["rule_ii_overall_best"]
        assert list(counts.units) == expected["detector_units"]
        assert counts.per_category == rule_i["detectors_per_category"]
        assert {c: list(n) for c, n in counts.labels_per_category.items()} == rule_i["unique_labels"]
        assert counts.unique == rule_i["unique_total"]
        assert list(counts.labels_overall) == rule_ii["unique_labels"]
        assert len(counts.labels_overall) == rule_ii["unique_total"]


def assert_best(best, expected, categories):
    unit = expected["unit"]
    for position, name in enumerate(categories):
        original = expected["per_category"][name]
        number, iou = best.number[unit, position], best.iou[unit, position]
        if original is None:
            assert (number, iou) == (0, 0)
        else:
            ties = [t["number"] if isinstance(t, dict) else t for t in original["tied_with"]]
            assert number in [original["number"], *ties]
            assert iou == pytest.approx(original["iou"], abs=1e-9)
    overall = best.overall[unit]
    if expected["overall"] is None:
        assert overall == -1
    else:
        assert best.iou[unit, overall] == pytest.approx(expected["overall"]["iou"], abs=1e-9)
        assert best.number[unit, overall] == expected["overall"]["number"]


def read_by_unit(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return list(rows[0]), {int(row["unit"]): row for row in rows}, [float(row["score"]) for row in rows]


def assert_same_table(path, expected):
    """Compares cell by cell; for a unit without labels, the original file names the last category."""
    (header, rows, scores), (original_header, originals, _) = read_by_unit(path), read_by_unit(expected)
    assert header == original_header
    assert rows.keys() == originals.keys()
    assert scores == sorted(scores, reverse=True)
    for unit, row in rows.items():
        for column, cell in row.items():
            original = originals[unit][column]
            if column == "category" and not originals[unit]["label"] and not float(row["score"]):
                assert cell == ""
            elif column.endswith("label") or column in ("unit", "category"):
                assert cell == original, (unit, column)
            else:
                assert float(cell) == pytest.approx(float(original), abs=1e-9), (unit, column)


@by_kind
@by_fraction
@pytest.mark.parametrize("rule", ["exact_linear", "lite_sketch"])
def test_the_table_is_that_of_netdissect_lite(folder, reference, broden, tmp_path, kind, quantile, rule):
    thresholds = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")["threshold"]
    tally = tally_layer(reference[kind], thresholds)
    write_tally_csv(tmp_path / "tally.csv", tally, broden.annotations, "lite")
    original = folder / f"original_csv/lite_zero_removed_{kind}_{quantile}_{rule}.csv"
    assert_same_table(tmp_path / "tally.csv", original)


@pytest.mark.parametrize("program", ["lite", "paper"])
@by_kind
@by_fraction
@pytest.mark.parametrize("rule", ["exact_linear", "lite_sketch"])
def test_with_label_zero_counted_the_table_is_the_one_published(
    folder, with_zeros, tmp_path, program, kind, quantile, rule
):
    thresholds = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")["threshold"]
    tally = tally_layer(with_zeros[kind], thresholds, TallySettings(count_label_zero=True))
    annotations = with_zeros[kind].probe.annotations
    write_tally_csv(tmp_path / "tally.csv", tally, annotations, program, count_label_zero=True)
    original = folder / f"original_csv/{program}_as_published_{kind}_{quantile}_{rule}.csv"
    assert_same_table(tmp_path / "tally.csv", original)
