"""Units of a study are drawn by a stated rule; dead and incomplete units are left out and counted."""

import pytest

from dissectbench.harness import InputError
from dissectbench.harness.records import UnitId
from dissectbench.results.studies.design.frame import Frame
from dissectbench.results.studies.design.units import UnitRule, choose_study_units


@pytest.fixture
def frame():
    texts = {UnitId("net", layer, k): {"a": "x", "b": "y"} for layer in ("p", "q") for k in range(20)}
    for k in range(5):
        del texts[UnitId("net", "q", k)]["b"]
    return Frame("net", ("p", "q"), ("a", "b"), texts, dead=(UnitId("net", "p", 30),))


def test_a_stratified_sample_has_as_many_complete_units_of_each_layer(frame):
    chosen = choose_study_units(frame, UnitRule(per_layer=6))
    assert [unit.layer for unit in chosen.units] == ["p"] * 6 + ["q"] * 6
    assert all(not frame.missing(unit) for unit in chosen.units)
    assert list(chosen.units) == sorted(chosen.units)
    assert "left out: 1 dead, 5 without a description by every method" in chosen.sentence
    assert "6 units of each of p, q, drawn at random (seed 0) among 35 units" in chosen.sentence
    assert chosen.units != choose_study_units(frame, UnitRule(per_layer=6, seed=1)).units


def test_a_larger_sample_contains_a_smaller_one(frame):
    for small, large in (
        (UnitRule(count=4), UnitRule(count=9)),
        (UnitRule(per_layer=4), UnitRule(per_layer=9)),
    ):
        assert set(choose_study_units(frame, small).units) < set(choose_study_units(frame, large).units)


def test_a_small_layer_is_used_completely_and_noted(frame):
    chosen = choose_study_units(frame, UnitRule(per_layer=18))
    assert len(chosen.units) == 18 + 15
    assert chosen.notes == ("layer q: only 15 of 18 units can be shown",)


def test_a_simple_sample_is_over_all_units_of_the_layers(frame):
    chosen = choose_study_units(frame, UnitRule(count=12, layers=["q"]))
    assert {unit.layer for unit in chosen.units} == {"q"}
    assert len(choose_study_units(frame, UnitRule(count=35)).units) == 35


def test_incomplete_units_are_chosen_on_request(frame):
    chosen = choose_study_units(frame, UnitRule(per_layer=20, incomplete=True))
    assert len(chosen.units) == 40


def test_named_units_are_chosen_in_the_order_of_the_run(frame):
    chosen = choose_study_units(frame, UnitRule(named=["q:7", "p:3", "q:7"]))
    assert chosen.units == (UnitId("net", "p", 3), UnitId("net", "q", 7))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"named": ["p:99"]}, "no description of unit 99"),
        ({"named": ["r:1"]}, "no layer 'r'"),
        ({"named": ["p"]}, "is not a unit"),
        ({"named": ["p:30"]}, "p:30 is dead"),
        ({"named": ["q:2"]}, "q:2 has no description by b"),
        ({"layers": ["r"]}, "--layer is 'r'"),
        ({"count": 0}, "--units=0"),
        ({"per_layer": -1}, "--per-layer=-1"),
        ({"per_layer": 3, "count": 3}, "more than one rule"),
        ({"named": ["p:1"], "layers": ["p"]}, "--layer restricts a sample"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_name(frame, rule, message):
    with pytest.raises(InputError, match=message):
        choose_study_units(frame, UnitRule(**rule))
