"""Exported descriptions, in all layouts, read back unchanged."""

import csv

import numpy as np
import pytest

from dissectbench.datasets.tinyworld import probing_set
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import ArrayLayer
from dissectbench.harness.records import Candidate, Description, UnitId
from dissectbench.methods.network_dissection import NetworkDissection
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


DESCRIBED = [record for record in RECORDS if record.status == "ok"]


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
def test_an_original_layout_reads_back_unchanged(tmp_path, layout, content):
    path = tmp_path / "d.csv"
    assert write_original_csv(DESCRIBED, path, layout) == []
    assert path.read_text() == content
    back = read_descriptions_csv(path, layer="fc")
    assert {r.unit: r.text for r in back.rows} == {1: "two\nlines", 2: 'striped, "black" things'}


@pytest.mark.parametrize("layout", ["clip_dissect", "milan", "dnd"])
def test_units_without_a_description_are_an_error_or_left_out(tmp_path, layout):
    path = tmp_path / "d.csv"
    with pytest.raises(InputError) as error:
        write_original_csv(RECORDS, path, layout)
    assert f"layout {layout} cannot represent 3 units without a description" in error.value.message
    assert "(1 dead, 1 failed, 1 below threshold), such as fc 0" in error.value.message
    assert not path.exists()
    left_out = write_original_csv(RECORDS, path, layout, leave_out_undescribed=True)
    assert [record.unit.index for record in left_out] == [0, 3, 4]
    assert {r.unit for r in read_descriptions_csv(path, layer="fc").rows} == {1, 2}
    with pytest.raises(InputError, match="no description to export"):
        write_original_csv([RECORDS[1]], path, layout, leave_out_undescribed=True)


@pytest.mark.parametrize("layout", ["clip_dissect", "milan"])
def test_several_layers_are_in_one_file_where_the_layout_names_them(tmp_path, layout):
    records = [described(0, "cat"), described(0, "dog", layer="layer4")]
    write_original_csv(records, tmp_path / "d.csv", layout)
    rows = read_descriptions_csv(tmp_path / "d.csv").rows
    assert {(r.layer, r.unit): r.text for r in rows} == {("fc", 0): "cat", ("layer4", 0): "dog"}


def test_the_labels_of_a_description_are_the_labels_of_the_dnd_layout(tmp_path):
    joined = Description(
        UnitId("net", "fc", 0), "mine", "cats; dogs", candidates=(Candidate("cats"), Candidate("dogs"))
    )
    write_original_csv([joined, described(1, "salt; pepper", "spice")], tmp_path / "d.csv", "dnd")
    assert (tmp_path / "d.csv").read_text().splitlines()[1:] == [
        "0,cats,dogs, ",
        "1,salt; pepper,spice, ",
    ]
    four = described(0, "a; b; c; d", *"abcd")
    with pytest.raises(InputError, match="unit 0 has 4 labels; the layout dnd has three"):
        write_original_csv([four], tmp_path / "d.csv", "dnd")


def test_the_network_dissection_layout_has_the_best_label_of_every_category(tmp_path):
    path = tmp_path / "d.csv"
    records = list(dissected(tmp_path))
    left_out = write_original_csv(records, path, "netdissect", leave_out_undescribed=True)
    assert [record.status for record in left_out] == ["dead"]
    written = list(csv.DictReader(path.open()))
    assert list(written[0])[:5] == ["unit", "category", "label", "score", "color-label"]
    for row, record in zip(written, records, strict=False):
        assert int(row["unit"]) == record.unit.index + 1
        assert row[f"{row['category']}-label"] == row["label"]
        assert float(row[f"{row['category']}-iou"]) == float(row["score"]) == record.score
    assert "below_threshold" in {record.status for record in records}
    rows = read_descriptions_csv(path, layer="layer").rows
    assert {r.unit: r.text for r in rows} == {
        d.unit.index: d.candidates[0].text for d in records if d.candidates
    }


def dissected(folder):
    """Network Dissection's records of random maps of images of tinyworld, as a run stores them."""
    probe = probing_set(images=6, seed=0, root=folder / "tinyworld")
    maps = np.random.default_rng(0).random((6, 5, 4, 4), np.float32)
    maps[:, 4] = 1
    layer = ArrayLayer(maps, probe, Cache(folder / "cache"))
    for record in NetworkDissection(0.05, denominator="lite", iou_threshold=0.1).describe(
        layer, range(5)
    ):
        yield Description.from_json(record.to_json())


def test_only_records_with_a_broden_label_fit_the_network_dissection_layout(tmp_path):
    with pytest.raises(InputError, match="needs a Broden label, which unit 2 of mine does not have"):
        write_original_csv(DESCRIBED, tmp_path / "d.csv", "netdissect")


def test_several_methods_layers_or_targets_are_an_error_where_the_layout_has_one(tmp_path):
    path = tmp_path / "d.csv"
    with pytest.raises(InputError, match="holds one method, not 2: mine, other"):
        write_original_csv([*DESCRIBED, described(0, "cat", method="other")], path, "milan")
    with pytest.raises(InputError, match="holds one layer, not 2: fc, layer4"):
        write_original_csv([*DESCRIBED, described(0, "cat", layer="layer4")], path, "dnd")
    elsewhere = Description(UnitId("other", "fc", 0), "mine", "cat")
    for write in (write_descriptions, lambda d, p: write_original_csv(d, p, "milan")):
        with pytest.raises(InputError, match="holds one target, not 2: net, other"):
            write([*DESCRIBED, elsewhere], path)
    with pytest.raises(InputError, match="layout is 'mila'"):
        write_original_csv(DESCRIBED, path, "mila")  # pyright: ignore[reportArgumentType]
    assert not path.exists()
