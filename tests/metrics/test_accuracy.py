"""Exact and synonym-aware accuracy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.metrics.accuracy import ExactAccuracy, SynonymAccuracy, normalise


@pytest.mark.parametrize(
    "text",
    ["art gallery", "Art_Gallery", "art-gallery", "art/gallery", "  art \t gallery ", "ＡＲＴ gallery"],
)
def test_case_separators_and_white_space_are_ignored(text):
    assert ExactAccuracy().score([text], [["art gallery"]]) == 1


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("prediction", "exact", "synonym"),
    [
        ("tench", 0, 1),
        ("tinca tinca", 0, 1),
        ("Tench, Tinca tinca", 1, 1),
        ("Tinca", 0, 0),
        ("tench tench", 0, 0),
        ("tinca tinca, tench", 0, 0),
        (",", 0, 0),
    ],
)
def test_a_synonym_is_the_whole_text_between_commas(prediction, exact, synonym):
    reference = [["tench, Tinca tinca"]]
    assert ExactAccuracy().score([prediction], reference) == exact
    assert SynonymAccuracy().score([prediction], reference) == synonym


def test_a_unit_counts_once_however_many_names_match():
    assert SynonymAccuracy().score(["crane"], [["crane, Crane", "crane", "CRANE, bird"]]) == 1


def test_separators_alone_match_nothing():
    assert ExactAccuracy().score(["-"], [["_"]]) == 0
    assert SynonymAccuracy().score(["-"], [["tench, , /"]]) == 0
