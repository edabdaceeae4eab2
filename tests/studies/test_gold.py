"""Gold tasks: the text that must be rated low describes a very different unit."""

import numpy as np
import pytest

from dissectbench.harness import InputError
from dissectbench.harness.records import UnitId
from dissectbench.results.studies.design.frame import Frame
from dissectbench.results.studies.design.gold import content_words, gold_from_file, gold_from_units

CAR, TRUCK, BIRD, VAGUE = (UnitId("net", "x", k) for k in range(4))
TEXTS = {
    CAR: {"a": "cars", "b": "a red car"},
    TRUCK: {"a": "trucks", "b": "a truck"},
    BIRD: {"a": "birds", "b": "the bird"},
    VAGUE: {"a": "all kinds of things", "b": "various objects"},
}
IMAGES = {CAR: {1, 2, 3}, TRUCK: {3, 4, 5}, BIRD: {6, 7, 8}, VAGUE: {9}}


@pytest.fixture
def frame():
    return Frame("net", ("x",), ("a", "b"), TEXTS, references={BIRD: ("bird, Aves",)})


def strongest(unit):
    return frozenset(IMAGES[unit])


@pytest.mark.parametrize("seed", range(20))
def test_the_foreign_text_is_reliable_and_of_a_unit_with_other_images(frame, seed):
    drafts = gold_from_units(frame, [CAR], 4, strongest, np.random.default_rng(seed))
    of_units = {draft.unit: dict(draft.expected) for draft in drafts}
    assert set(of_units) == set(TEXTS)
    # Units that share an image are not very different, and nobody agrees on the vague one. The true text
    # of BIRD comes before descriptions.
    assert of_units[CAR] == of_units[TRUCK] == of_units[VAGUE] == {"bird": "low"}
    low = [text for text, expected in of_units[BIRD].items() if expected == "low"]
    assert len(low) == 1
    assert content_words(low[0]) & {"car", "truck"}
    assert of_units[BIRD]["bird"] == "high"
    # Units outside the study are shown first.
    assert drafts[-1].unit == CAR
    for draft in drafts:
        assert len(draft.slots) == 2
        assert {row.expected for row in draft.key(0)} >= {"low"}
        assert all(row.method == "" for row in draft.key(0) if row.expected)


def test_too_many_gold_tasks_are_refused_with_what_is_possible(frame):
    with pytest.raises(InputError, match="--gold-tasks 5: only 4 such tasks"):
        gold_from_units(frame, [], 5, strongest, np.random.default_rng(0))


def test_a_file_of_gold_tasks_is_filled_with_the_units_own_descriptions(frame, tmp_path):
    path = tmp_path / "gold.csv"
    path.write_text("layer,unit,description,expected\nx,2,Birds,high\nx,0,a teapot,low\n")
    bird, car = gold_from_file(path, frame, np.random.default_rng(0))
    assert {text.text for text in bird.slots} == {"Birds", "the bird"}
    assert bird.expected == {"Birds": "high"}
    assert "a teapot" in {text.text for text in car.slots}
    assert len(car.slots) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,9,teapot,low", "line 2, column 'unit': the run has no description of unit 9"),
        ("y,1,teapot,low", "line 2, column 'unit': the run has no layer 'y'"),
        ("x,one,teapot,low", "line 2, column 'unit': 'one' is not a number"),
        ("x,1,teapot,bad", "line 2, column 'expected'"),
        ("x,1,,low", "line 2, column 'description': is empty"),
        ("x,1,teapot,low\nx,1,Teapot,high", "line 3, column 'description': the unit has"),
    ],
)
def test_a_mistake_in_a_file_of_gold_tasks_is_named_with_its_place(frame, tmp_path, line, message):
    path = tmp_path / "gold.csv"
    path.write_text(f"layer,unit,description,expected\n{line}\n")
    with pytest.raises(InputError, match=message):
        gold_from_file(path, frame, np.random.default_rng(0))
