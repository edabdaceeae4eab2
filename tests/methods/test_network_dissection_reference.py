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


def assert_same_table(tally, annotations, denominator, path, first=1):
    """Compares labels, pixel counts and IoUs with every cell of an original `tally.csv`."""
    category, categories = category_of(annotations), annotations.categories
    pixels, iou = tally.pixels(denominator, category), tally.iou(denominator, category)
    best = best_labels(iou, category, len(categories), first=first)
    names = ["", *(label.name for label in annotations.labels)]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["unit"]) for row in rows) == list(range(1, len(iou) + 1))
    for row in rows:
        unit = int(row["unit"]) - 1
        assert best.iou[unit].max() == pytest.approx(float(row["score"]), abs=1e-9)
        if row["label"] or float(row["score"]):  # without a label, the file names the last category
            overall = best.overall[unit]
            assert (categories[overall], names[best.number[unit, overall]]) == (
                row["category"],
                row["label"],
            )
        for name, number, value in zip(categories, best.number[unit], best.iou[unit], strict=True):
            assert names[number] == row[f"{name}-label"], (unit, name)
            assert value == pytest.approx(float(row[f"{name}-iou"]), abs=1e-9), (unit, name)
            assert pixels.truth[number] == float(row[f"{name}-truth"]), (unit, name)
            assert pixels.activation[unit, number] == float(row[f"{name}-activation"]), (unit, name)
            assert pixels.shared[unit, number] == float(row[f"{name}-intersect"]), (unit, name)


@by_kind
@by_fraction
@pytest.mark.parametrize("rule", ["exact_linear", "lite_sketch"])
def test_the_table_is_that_of_netdissect_lite(folder, reference, broden, kind, quantile, rule):
    thresholds = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")["threshold"]
    tally = tally_layer(reference[kind], thresholds)
    original = folder / f"original_csv/lite_zero_removed_{kind}_{quantile}_{rule}.csv"
    assert_same_table(tally, broden.annotations, "lite", original)


@pytest.mark.parametrize("program", ["lite", "paper"])
@by_kind
@by_fraction
@pytest.mark.parametrize("rule", ["exact_linear", "lite_sketch"])
def test_with_label_zero_counted_the_table_is_the_one_published(
    folder, with_zeros, program, kind, quantile, rule
):
    thresholds = np.load(folder / f"tally_{kind}_{quantile}_{rule}.npz")["threshold"]
    tally = tally_layer(with_zeros[kind], thresholds, TallySettings(count_label_zero=True))
    annotations = with_zeros[kind].probe.annotations
    original = folder / f"original_csv/{program}_as_published_{kind}_{quantile}_{rule}.csv"
    assert_same_table(tally, annotations, program, original, first=0)
