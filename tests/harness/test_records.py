"""Records are read back unchanged, and have a text exactly if their status is ok."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.records import Candidate, Description, UnitId

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
def test_a_record_is_read_back_unchanged(description):
    line = description.to_json()
    assert "\n" not in line
    assert Description.from_json(line) == description


def test_a_record_has_a_text_exactly_if_its_status_is_ok():
    with pytest.raises(ValueError, match="exactly if"):
        of(0, None)
    with pytest.raises(ValueError, match="exactly if"):
        of(0, "words", status="dead")
    with pytest.raises(ValueError, match="exactly if"):
        of(0, "words", status="below_threshold")
    assert of(0, None, status="below_threshold", score=0.01).score == 0.01
