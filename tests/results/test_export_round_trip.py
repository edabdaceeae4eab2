"""Every exported layout reads back unchanged, and has the form of the published files."""

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectbench.datasets.concepts import readable
from dissectbench.harness.records import Candidate, Description, UnitId
from dissectbench.results import read_descriptions_csv, write_original_csv

SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Texts that a record can have: no surrounding space, and no NUL, which the importer refuses.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text.strip() == text
)
NAMES = st.text(string.ascii_lowercase + string.digits + "._", min_size=1)
SCORES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
UNITS = st.tuples(NAMES, st.integers(0, 5000))


def record(layer, unit, text, score=None, candidates=(), **evidence) -> Description:
    return Description(
        UnitId("net", layer, unit),
        "mine",
        text,
        score=score,
        candidates=tuple(Candidate(candidate) for candidate in candidates),
        evidence=evidence,
    )


def exported(records, folder, layout, layer=None):
    """What is read from what is written, by layer and unit."""
    path = folder / "exported.csv"
    assert write_original_csv(records, path, layout) == []
    return {(row.layer, row.unit): row for row in read_descriptions_csv(path, layer=layer).rows}


@SETTINGS
@given(st.dictionaries(UNITS, st.tuples(TEXTS, SCORES), min_size=1))
def test_clip_dissect_and_milan(tmp_path, described):
    records = [record(layer, unit, text, score) for (layer, unit), (text, score) in described.items()]
    rows = exported(records, tmp_path, "clip_dissect")
    assert {unit: (row.text, row.score) for unit, row in rows.items()} == described
    rows = exported(records, tmp_path, "milan")
    assert {unit: row.text for unit, row in rows.items()} == {
        u: text for u, (text, _) in described.items()
    }


@SETTINGS
@given(st.dictionaries(st.integers(0, 5000), st.lists(TEXTS, min_size=1, max_size=5, unique=True)))
def test_describe_and_dissect(tmp_path, candidates):
    candidates = {**candidates, 0: ["one label"]}
    records = [record("fc", unit, texts[0], None, texts) for unit, texts in candidates.items()]
    rows = exported(records, tmp_path, "dnd", layer="fc")
    assert {unit: [row.text, *row.alternatives] for (_, unit), row in rows.items()} == {
        unit: texts[:3] for unit, texts in candidates.items()
    }


LABELS = st.from_regex(r"[a-z]+(_[a-z]+)?(-[cs])?", fullmatch=True)


@SETTINGS
@given(st.dictionaries(st.integers(0, 5000), st.tuples(LABELS, st.floats(0, 1)), min_size=1))
def test_network_dissection(tmp_path, labels):
    def broden(unit, label, score):
        best = {"label": label, "truth": 9, "activation": 4, "intersection": 1, "iou": score}
        evidence = {"category": "scene", "label": label, "denominator": "paper"}
        text = readable(label)
        return record("fc", unit, text, score, [text], categories={"scene": best}, **evidence)

    records = [broden(unit, label, score) for unit, (label, score) in labels.items()]
    rows = exported(records, tmp_path, "netdissect", layer="fc")
    assert {unit: (row.text, row.score) for (_, unit), row in rows.items()} == {
        unit: (readable(label), score) for unit, (label, score) in labels.items()
    }
    header = (tmp_path / "exported.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    groups = [column.removesuffix("-label") for column in header if column.endswith("-label")]
    assert groups == ["color", "object", "part", "material", "scene", "texture"]


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("CLIP_Dissect_results/resnet50_imagenet_broden.csv", "clip_dissect"),
        ("MILAN_results/m_base_resnet50_imagenet.csv", "milan"),
        ("MILAN_results/m_imagenet_resnet18_places365.csv", "milan"),
        ("DnD_results/rn152_results/resnet152_imagenet_layer1.csv", "dnd"),
    ],
)
def test_a_published_file_is_exported_with_the_same_bytes(shared, tmp_path, name, layout):
    path = shared / "published" / name
    records = [
        record(row.layer, row.unit, row.text, row.score, filter(None, [row.text, *row.alternatives]))
        for row in read_descriptions_csv(path).rows
    ]
    write_original_csv(records, tmp_path / "exported.csv", layout)
    assert (tmp_path / "exported.csv").read_bytes() == path.read_bytes()


def test_the_header_of_network_dissection_is_the_published_one(shared, tmp_path):
    path = shared / "published" / "NetDissect_results" / "resnet50_imagenet_fc.csv"
    best = {"label": "dog", "truth": 9, "activation": 4, "intersection": 1, "iou": 0.5}
    evidence = {"category": "object", "label": "dog", "denominator": "paper"}
    one = record("fc", 0, "dog", 0.5, ["dog"], categories={"object": best}, **evidence)
    write_original_csv([one], tmp_path / "exported.csv", "netdissect")
    headers = [
        file.read_text(encoding="utf-8").splitlines()[0] for file in (tmp_path / "exported.csv", path)
    ]
    assert headers[0] == headers[1]
