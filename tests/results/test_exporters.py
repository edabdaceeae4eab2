"""Exported descriptions: in other tools' layouts, and read back unchanged."""

import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.records import Candidate, Description, UnitId
from dissectbench.results.exporters.descriptions import write_descriptions, write_original_csv
from dissectbench.results.importers.descriptions_csv import read_descriptions_csv


def described(unit, text, *others, layer="fc", method="mine", score=None):
    candidates = tuple(Candidate(t) for t in (text, *others))
    return Description(UnitId("net", layer, unit), method, text, score=score, candidates=candidates)


def undescribed(unit, status, layer="fc", method="mine"):
    return Description(UnitId("net", layer, unit), method, None, status)


RECORDS = [
    described(2, 'striped, "black" things', "zebras", "fences", "crossings", score=0.1 + 0.2),
    undescribed(0, "dead"),
    described(1, "two\nlines", score=0.0),
    undescribed(3, "failed"),
    undescribed(4, "below_threshold"),
]


def test_the_plain_layout_reads_back_unchanged(tmp_path):
    path = tmp_path / "d.csv"
    write_descriptions([*RECORDS, described(0, "cat", layer="layer4", method="other")], path)
    assert path.read_text().splitlines()[0] == "layer,unit,method,description,status,score"
    rows = {(r.method, r.layer, r.unit): r for r in read_descriptions_csv(path).rows}
    assert len(rows) == 6
    for record in RECORDS:
        row = rows[record.method, record.unit.layer, record.unit.index]
        assert (row.text, row.status, row.score) == (record.text, record.status, record.score)


def test_a_later_record_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "d.csv"
    write_descriptions([undescribed(0, "failed"), described(1, "a"), described(0, "b")], path)
    assert [(r.unit, r.text) for r in read_descriptions_csv(path).rows] == [(0, "b"), (1, "a")]


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        (
            "clip_dissect",
            "layer,unit,description,similarity\n"
            'fc,2,"striped, ""black"" things",0.30000000000000004\n'
            'fc,1,"two\nlines",0.0\n',
        ),
        ("milan", 'layer,unit,description\nfc,2,"striped, ""black"" things"\nfc,1,"two\nlines"\n'),
        (
            "dnd",
            "Neuron ID,Label 1,Label 2,Label 3\n"
            '2,"striped, ""black"" things",zebras,fences\n'
            '1,"two\nlines", , \n',
        ),
    ],
)
def test_other_tools_get_their_layout_and_no_empty_description(tmp_path, layout, content):
    path = tmp_path / "d.csv"
    assert write_original_csv(RECORDS, path, layout) == 3
    assert path.read_text() == content
    back = read_descriptions_csv(path, layer="fc")
    assert {r.unit: r.text for r in back.rows} == {1: "two\nlines", 2: 'striped, "black" things'}


def test_a_layout_of_one_method_or_layer_refuses_several(tmp_path):
    with pytest.raises(InputError, match="holds one method, not 2: mine, other"):
        write_original_csv([*RECORDS, described(0, "cat", method="other")], tmp_path / "d.csv", "milan")
    with pytest.raises(InputError, match="holds one layer, not 2: fc, layer4"):
        write_original_csv([*RECORDS, described(0, "cat", layer="layer4")], tmp_path / "d.csv", "dnd")
    assert not (tmp_path / "d.csv").exists()
