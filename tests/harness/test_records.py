"""Records survive a kill, and come back as they were."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.errors import InputError
from dissectbench.harness.records import Candidate, Description, Journal, UnitId, read_descriptions

texts = st.text(max_size=40)
numbers = st.floats(allow_nan=False, allow_infinity=False)
described = st.builds(
    Description,
    unit=st.builds(UnitId, texts, texts, st.integers(0, 5000)),
    method=texts,
    text=texts,
    score=st.none() | numbers,
    candidates=st.lists(st.builds(Candidate, texts, st.none() | numbers), max_size=3).map(tuple),
    evidence=st.dictionaries(texts, numbers | texts, max_size=3),
)


def of(unit: int, text: str | None = "a red boat", **more) -> Description:
    return Description(UnitId("net", "fc", unit), "words", text, **more)


@given(described)
def test_a_record_comes_back_as_it_was(description):
    line = description.to_json()
    assert "\n" not in line
    assert Description.from_json(line) == description


def test_a_text_stands_exactly_where_the_status_is_ok():
    with pytest.raises(ValueError, match="exactly if"):
        of(0, None)
    with pytest.raises(ValueError, match="exactly if"):
        of(0, "words", status="dead")


def test_nan_scores_are_refused(tmp_path):
    with Journal(tmp_path / "d.jsonl") as journal, pytest.raises(ValueError, match="JSON compliant"):
        journal.append(of(0, score=float("nan")))


@given(st.integers(1, 200))
def test_a_torn_last_line_is_dropped_and_written_again(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "d.jsonl"
    with Journal(path) as journal:
        for unit in range(3):
            journal.append(of(unit))
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    path.write_bytes(whole[: -min(cut, last)])
    with Journal(path) as journal:
        assert [unit.index for unit, _ in journal.latest] == [0, 1]
        journal.append(of(2))
    assert path.read_bytes() == whole


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(of(0).to_json() + "\n{oops}\n" + of(2).to_json() + "\n")
    with pytest.raises(InputError, match=r"d\.jsonl, line 2"):
        list(read_descriptions(path))
    with pytest.raises(InputError, match=r"d\.jsonl, line 2"):
        Journal(path)


def test_a_newer_schema_is_refused(tmp_path):
    record = {**json.loads(of(0).to_json()), "schema": 99}
    (tmp_path / "d.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="schema 99"):
        list(read_descriptions(tmp_path / "d.jsonl"))


def test_a_later_record_replaces_an_earlier_one(tmp_path):
    with Journal(tmp_path / "d.jsonl") as journal:
        journal.append(of(0, None, status="failed", evidence={"reason": "no answer"}))
        journal.append(of(0))
    with Journal(tmp_path / "d.jsonl") as journal:
        assert journal.latest[UnitId("net", "fc", 0), "words"].text == "a red boat"


def test_what_a_description_took_is_kept_beside_the_records(tmp_path):
    for name, seconds in (("one", 1.0), ("two", 2.0)):
        with Journal(tmp_path / name / "d.jsonl") as journal:
            journal.append(replace(of(0), seconds=seconds, cost_usd=0.25))
    first, second = ((tmp_path / name / "d.jsonl").read_bytes() for name in ("one", "two"))
    assert first == second
    spent = json.loads((tmp_path / "two" / "spent.jsonl").read_text())
    assert (spent["seconds"], spent["cost_usd"], spent["index"]) == (2.0, 0.25, 0)
