"""Network Dissection: descriptions, best labels, detectors and the caching of tallies."""

import inspect
import json
from collections import Counter
from dataclasses import fields
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from unopened_images import UnopenedImages

from dissectbench.datasets.probing_set import Annotations, ImageAnnotation, Label
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import ArrayLayer
from dissectbench.methods.network_dissection.detectors import best_labels, detectors
from dissectbench.methods.network_dissection.network_dissection import (
    NetworkDissection,
    lite_threshold,
    words,
)
from dissectbench.methods.upsample import Upsampling


class Labels(Annotations):
    """One plane per image; labels are names with their categories."""

    def __init__(self, planes, labels):
        self.planes = planes
        self.labels = tuple(Label(n, *label) for n, label in enumerate(labels, 1))
        self.categories = tuple(dict.fromkeys(label.category for label in self.labels))

    def of(self, index):
        plane = self.planes[index]
        return ImageAnnotation(plane.shape, plane[None].astype(np.int32))

    def fingerprint(self):
        return "planes"


class CountedLayer(ArrayLayer):
    """Counts the passes over its maps, which fit in one batch."""

    passes = 0

    def maps(self, images=None):
        self.passes += 1
        return super().maps(images)


PLANES = np.zeros((4, 4, 4), np.int32)
PLANES[:, :, 0], PLANES[:, :2, 1:], PLANES[:, 2:, 1:] = 1, 2, 3


LABELS = (("red-c", "color"), ("traffic_light", "object"), ("vitamin-c", "object"))


def make(folder, maps) -> Any:
    maps = np.asarray(maps, np.float32)
    return CountedLayer(maps, UnopenedImages(len(maps), Labels(PLANES, LABELS)), Cache(folder))


def unit_of(*labels):
    """Maps of a unit that is 1 where the last image has one of these labels, else 0."""
    maps = np.zeros((4, 4, 4))
    maps[3] = np.isin(PLANES[3], labels)
    return maps


def test_a_unit_gets_the_label_with_the_highest_iou_as_words(tmp_path):
    layer = make(tmp_path, np.stack([unit_of(1), unit_of(2), unit_of(3), unit_of(1, 2)], axis=1))
    descriptions = list(NetworkDissection(0.25).describe(layer, [0, 1, 2, 3]))
    assert [d.text for d in descriptions] == ["red", "traffic light", "vitamin-c", "traffic light"]
    assert [d.status for d in descriptions] == ["ok"] * 4
    # The unit is active in one of four images: on a quarter of the label's pixels.
    assert [d.score for d in descriptions][:3] == [0.25] * 3
    evidence = descriptions[3].evidence
    assert (evidence["intersection"], evidence["truth"], evidence["activation"]) == (6, 24, 10)
    assert evidence["iou"] == evidence["iou_lite"] == evidence["iou_dissect"] == 6 / 28
    assert evidence["categories"]["color"]["label"] == "red-c"
    assert [(c.text, c.score) for c in descriptions[3].candidates] == [
        ("traffic light", 6 / 28),
        ("red", 4 / 22),
    ]


def test_below_the_threshold_there_is_no_text_and_the_best_label_is_kept(tmp_path):
    layer = make(tmp_path, unit_of(1)[:, None])
    (description,) = NetworkDissection(0.25, iou_threshold=0.25).describe(layer, [0])
    assert (description.text, description.status, description.score) == (None, "below_threshold", 0.25)
    assert description.evidence["reason"] == "no label has an IoU above 0.25"
    assert description.candidates[0].text == "red"
    assert description.evidence["label"] == "red-c"


def test_a_unit_whose_mask_overlaps_no_label_has_no_text_and_no_candidate(tmp_path):
    planes = PLANES.copy()
    planes[3] = 0
    layer = make(tmp_path, unit_of(1)[:, None])
    layer.probe.annotations.planes = planes
    (description,) = NetworkDissection(0.25).describe(layer, [0])
    assert (description.text, description.status) == (None, "below_threshold")
    assert (description.score, description.candidates) == (0, ())
    json.loads(description.to_json())


def test_a_dead_unit_gets_no_description(tmp_path):
    layer = make(tmp_path, np.stack([unit_of(1), np.full((4, 4, 4), 3.0)], axis=1))
    alive, dead = NetworkDissection(0.25).describe(layer, [0, 1])
    assert (alive.status, dead.status, dead.text) == ("ok", "dead", None)


def test_a_unit_with_undefined_activations_fails_with_the_reason(tmp_path):
    broken = unit_of(1)
    broken[0] = np.nan
    layer = make(tmp_path, np.stack([broken, unit_of(2)], axis=1))
    failed, fine = NetworkDissection(0.25).describe(layer, [0, 1])
    assert failed.status == "failed"
    assert "not all finite" in failed.evidence["reason"]
    assert fine.text == "traffic light"


def test_ties_are_broken_by_category_and_then_by_label_number(tmp_path):
    quarters = np.zeros((2, 4, 4), np.int32)
    quarters[0, :2, :2], quarters[0, :2, 2:], quarters[0, 2:, :2], quarters[0, 2:, 2:] = 4, 3, 2, 1
    labels = Labels(quarters, [("one", "part"), ("two", "object"), ("three", "object"), ("four", "part")])
    labels.categories = ("object", "part")
    maps = np.zeros((2, 1, 4, 4), np.float32)
    maps[0, 0, 1:3, 1:3] = 1  # one pixel of each quarter
    layer = ArrayLayer(maps, UnopenedImages(2, labels), Cache(tmp_path))
    (description,) = NetworkDissection(0.25).describe(layer, [0])
    assert [(c.text, c.score) for c in description.candidates] == [
        (name, 1 / 7) for name in ("two", "three", "one", "four")
    ]
    assert description.evidence["label"] == "two"


def test_a_description_does_not_depend_on_the_units_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((4, 6, 4, 4))
    records = Counter()
    for units in ([0, 1, 2, 3, 4, 5], [4, 2], [2], [5, 0]):
        layer = make(tmp_path / str(units), maps)
        described = list(NetworkDissection(0.1).describe(layer, units))
        assert [d.unit.index for d in described] == units
        for d in described:
            records[d.unit.index, d.text, d.score, json.dumps(d.evidence), str(d.candidates)] += 1
    assert len(records) == 6


def test_a_unit_is_tallied_once_for_all_runs_and_definitions(tmp_path):
    layer = make(tmp_path, np.stack([unit_of(1), unit_of(2)], axis=1))
    list(NetworkDissection(0.25).describe(layer, [0, 1]))
    list(NetworkDissection(0.25).describe(layer, [0]))
    list(NetworkDissection(0.25, denominator="lite", iou_threshold=0.1).describe(layer, [1]))
    assert layer.passes == 1
    list(NetworkDissection(0.26).describe(layer, [0]))
    list(NetworkDissection(0.25, quantile_rule="kth").describe(layer, [0]))
    list(NetworkDissection(0.25, upsampling=Upsampling("zero_padded")).describe(layer, [0]))
    assert layer.passes == 4
    layer.probe.annotations.fingerprint = lambda: "other labels"
    list(NetworkDissection(0.25).describe(layer, [0]))
    assert layer.passes == 5


def test_the_tally_of_a_finished_run_is_read_from_the_cache(tmp_path):
    maps = np.stack([unit_of(1), unit_of(2)], axis=1)
    list(NetworkDissection(0.25).describe(make(tmp_path, maps), [0, 1]))
    layer = make(tmp_path, maps)
    assert NetworkDissection(0.25).tally(layer).images == 4
    assert layer.passes == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 7), min_size=1, unique=True), max_size=3))
def test_units_counted_later_complete_the_tally_with_the_same_numbers(requests):
    maps = np.random.default_rng(0).standard_normal((4, 8, 4, 4))
    method = NetworkDissection(0.1)
    with TemporaryDirectory() as together, TemporaryDirectory() as apart:
        expected, layer = method.tally(make(together, maps)), make(apart, maps)
        counted: set[int] = set()
        for units in requests:
            consumers: Any = method.map_consumers(layer, units)
            assert {u for c in consumers for u in c.tally.units.tolist()} == set(units) - counted
            tally = method.tally(layer, units)
            assert_same(tally, expected.select(units))
            counted |= set(units)
        assert_same(method.tally(layer), expected)


def assert_same(tally, expected):
    for field in fields(tally):
        a, b = getattr(tally, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)


def test_detectors_count_the_units_that_a_run_left_out(tmp_path):
    layer = make(tmp_path, np.stack([unit_of(1), unit_of(2)], axis=1))
    list(NetworkDissection(0.25).describe(layer, [1]))
    assert NetworkDissection(0.25).tally(layer, [1]).units.tolist() == [1]
    assert NetworkDissection(0.25).detectors(layer).units == (0, 1)


def test_a_damaged_tally_in_the_cache_is_counted_again(tmp_path):
    layer = make(tmp_path, unit_of(1)[:, None])
    expected = NetworkDissection(0.25).tally(layer)
    (file,) = tmp_path.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    recounted = NetworkDissection(0.25).tally(layer)
    np.testing.assert_array_equal(recounted.intersection, expected.intersection)
    assert layer.passes == 2


def test_detectors_are_counted_by_both_rules(tmp_path):
    both = unit_of(1) + unit_of(2)
    layer = make(tmp_path, np.stack([unit_of(1), both, unit_of(2), np.zeros((4, 4, 4))], axis=1))
    counts = NetworkDissection(0.25).detectors(layer)
    assert counts.units == (0, 1, 2)
    assert counts.per_category == {"color": 2, "object": 2}
    assert counts.labels_per_category == {"color": (1,), "object": (2,)}
    assert (counts.unique, counts.labels_overall) == (2, (1, 2))


def test_units_of_a_fully_connected_layer_cover_the_whole_image(tmp_path):
    values = np.array([[0.0], [1.0], [0.0], [0.0]], np.float32)
    layer = ArrayLayer(
        values, UnopenedImages(4, Labels(PLANES, [("a", "x"), ("b", "x"), ("c", "y")])), Cache(tmp_path)
    )
    tally = NetworkDissection(0.25).tally(layer)
    assert tally.activation[0] == 16
    assert tally.intersection[0].tolist() == [0, 4, 6, 6]


def test_a_probing_set_without_labels_is_refused_with_a_hint(tmp_path):
    layer = ArrayLayer(np.zeros((2, 1), np.float32), UnopenedImages(2), Cache(tmp_path))
    with pytest.raises(InputError, match=r"labelled images.*'unopened'") as caught:
        next(NetworkDissection().describe(layer, [0]))
    assert "probing set with labels" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("quantile", 0),
        ("quantile", 1.5),
        ("quantile_rule", "nearest"),
        ("denominator", "union"),
        ("variant", "original"),
        ("keep_candidates", 0),
    ],
)
def test_a_setting_out_of_range_is_named(setting, value):
    with pytest.raises(InputError, match=f"network_dissection.*{setting}"):
        NetworkDissection(**{setting: value})


def test_the_variant_chooses_rule_and_denominator_unless_they_are_given():
    assert NetworkDissection().identity()["quantile_rule"] == "linear"
    official = NetworkDissection(variant="official")
    assert (official.quantile_rule, official.denominator) == ("lite", "lite")
    assert NetworkDissection(variant="official", denominator="paper").denominator == "paper"


@pytest.mark.parametrize("quantile", [0.005, 0.6, 1.0])
def test_a_single_value_is_its_own_threshold_in_lite(tmp_path, quantile):
    layer = make(tmp_path, np.full((1, 1, 1, 1), 3.5))
    assert lite_threshold(layer, quantile).tolist() == [3.5]


def test_the_identity_contains_every_setting_that_changes_a_description():
    changes: list[dict[str, Any]] = [
        {"quantile": 0.01},
        {"quantile_rule": "kth"},
        {"denominator": "all"},
        {"iou_threshold": 0.05},
        {"upsampling": Upsampling("zero_padded")},
        {"upsampling": Upsampling("anchored", [8, 8])},
        {"keep_candidates": 3},
    ]
    identities = [NetworkDissection(**change).identity() for change in [{}, *changes]]
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == len(identities)
    assert NetworkDissection(workers=3).identity() == NetworkDissection().identity()


def test_its_configuration_states_the_defaults_of_the_class(repository):
    file = repository / "harness/conf/method/network_dissection.yaml"
    config = OmegaConf.merge({"device": "cpu"}, OmegaConf.load(file))
    method = instantiate(config.network_dissection)
    assert isinstance(method, NetworkDissection)
    assert method.identity() == NetworkDissection().identity()
    stated = set(config.network_dissection) - {"_target_"}
    assert stated == set(inspect.signature(NetworkDissection).parameters)


def test_suffixes_of_colours_and_scenes_are_removed():
    assert words(Label(1, "hot_tub-outdoor-s", "scene")) == "hot tub-outdoor"
    assert words(Label(1, "grey-c", "color")) == "grey"
    assert words(Label(1, "vitamin-c", "object")) == "vitamin-c"


def test_best_labels_do_not_include_label_zero_by_default():
    iou = np.array([[0.9, 0.2, 0.3, 0.1]])
    best = best_labels(iou, np.array([1, 0, 0, 1]), 2)
    assert best.number.tolist() == [[2, 3]]
    assert best.overall.tolist() == [0]
    assert best_labels(iou, np.array([1, 0, 0, 1]), 2, first=0).number.tolist() == [[2, 0]]


def test_equal_ious_go_to_the_earliest_category_and_within_it_to_the_smallest_number():
    iou = np.array([[0, 0.5, 0.5, 0.5, 0.2], [0, 0.5, 0.1, 0.5, 0.5]])
    best = best_labels(iou, np.array([1, 1, 0, 0, 1]), 2)
    assert best.number.tolist() == [[2, 1], [3, 1]]
    assert best.overall.tolist() == [0, 0]  # although label 1, of the later category, is as good
    counts = detectors(best, ("first", "second"))
    assert counts.labels_overall == (2, 3)


def test_a_label_passes_only_strictly_above_the_threshold():
    best = best_labels(np.array([[0, 0.04], [0, 0.04000001]]), np.array([0, 0]), 1)
    assert detectors(best, ["all"], 0.04).units == (1,)
