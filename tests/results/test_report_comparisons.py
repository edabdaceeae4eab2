"""Agreement of methods by sentence embeddings, and nearest units by descriptions and by values."""

from itertools import permutations

import numpy as np
import pytest
from PIL import Image
from run_folders import write_run

from dissectbench.datasets.image_list import ImageList
from dissectbench.harness.cache import Cache
from dissectbench.harness.probe import ArrayLayer
from dissectbench.harness.records import Candidate, Description, UnitId
from dissectbench.results.report import neighbours, write_report
from dissectbench.results.report.images import RunImages
from dissectbench.results.report.neighbours import correlated_units, nearest_descriptions
from dissectbench.results.report.overview import agreements
from dissectbench.results.report.sentences import Sentences, mean_cosines
from dissectbench.results.report.units import compared, unit_reports


def unit_vectors(count, width=5, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reports(folder, **texts):
    """Units 0, 1, ... of one layer with a text per method; None: below the threshold."""
    records = [
        Description(UnitId("net", "a", index), method, text, "ok" if text else "below_threshold")
        for method, of_units in texts.items()
        for index, text in enumerate(of_units)
    ]
    return unit_reports(write_run(folder, records), {})


def test_the_control_is_the_mean_over_pairs_of_different_units():
    first, second = unit_vectors(6), unit_vectors(6, seed=1)
    cosine, control = mean_cosines(first, second)
    assert cosine == pytest.approx(np.mean([a @ b for a, b in zip(first, second, strict=True)]))
    assert control == pytest.approx(np.mean([first[i] @ second[j] for i, j in permutations(range(6), 2)]))
    assert mean_cosines(first[:0], second[:0]) == (None, None)
    assert mean_cosines(first[:1], second[:1])[1] is None


def test_methods_agree_more_than_shuffled_descriptions(tmp_path):
    first = ["sea", "Boat", "sky", "boat", None]
    units = reports(tmp_path, first=first, second=["sea", "boat", "tree", "sea", "sky"])
    texts = sorted({text for unit in units for text in unit.texts})
    sentences = Sentences.of("encoder", texts, np.eye(len(texts), dtype=np.float32))
    [pair] = agreements(units, sentences)
    assert (pair.methods, pair.units, pair.equal) == (("first", "second"), 4, 0.5)
    # Of the 12 pairs of different units: sea and sea, boat and boat.
    assert pair.equal_control == pytest.approx(2 / 12)
    # "Boat" and "boat" have different embeddings here.
    assert pair.cosine == pytest.approx(1 / 4)
    assert pair.cosine_control == pytest.approx(2 / 12)
    [pair] = agreements(units, Sentences())
    assert (pair.equal, pair.cosine, pair.cosine_control) == (0.5, None, None)


def test_the_agreement_of_a_unit_is_the_mean_over_its_pairs(tmp_path):
    units = reports(tmp_path, one=["a", "a"], two=["b", None], three=["c", None])
    vectors = unit_vectors(3)
    units = compared(units, Sentences.of("encoder", ["a", "b", "c"], vectors))
    expected = np.mean([vectors[i] @ vectors[j] for i, j in ((0, 1), (0, 2), (1, 2))])
    assert units[0].agreement == pytest.approx(expected)
    assert units[1].agreement is None


@pytest.mark.parametrize("rows", [2, 512])
def test_nearest_descriptions_are_those_with_the_highest_cosine(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(neighbours, "_ROWS", rows)
    texts = [f"text {index}" for index in range(7)]
    units = reports(tmp_path, words=texts, others=[*texts[:2], *[None] * 5])
    vectors = unit_vectors(7)
    found = nearest_descriptions(units, Sentences.of("encoder", texts, vectors))
    cosines = vectors @ vectors.T
    for index in range(7):
        order = [other for other in np.argsort(-cosines[index]).tolist() if other != index][:3]
        near = found[f"a/{index}", "words"]
        assert [(n.index, n.text) for n in near] == [(other, texts[other]) for other in order]
        assert [n.likeness for n in near] == pytest.approx(cosines[index, order], abs=6e-4)
    assert [n.index for n in found["a/0", "others"]] == [1]
    assert ("a/5", "others") not in found


def test_equal_likeness_is_in_the_order_of_the_units(tmp_path):
    units = reports(tmp_path, words=["sea"] * 6)
    found = nearest_descriptions(units, Sentences.of("encoder", ["sea"], unit_vectors(1)))
    assert [n.index for n in found["a/4", "words"]] == [0, 1, 2]
    assert [n.index for n in found["a/0", "words"]] == [1, 2, 3]
    assert {n.likeness for near in found.values() for n in near} == {1.0}


def layer_of(values, tmp_path, name, seed=0):
    images = ImageList([Image.new("RGB", (4, 4), (seed, number, 0)) for number in range(len(values))])
    return ArrayLayer(values.astype(np.float32), images, Cache(tmp_path), name=name)


@pytest.mark.parametrize("block", [7, 4096])
def test_correlated_units_are_those_of_numpy(tmp_path, monkeypatch, block):
    monkeypatch.setattr(neighbours, "_IMAGES", block)
    rng = np.random.default_rng(0)
    # Correlated through a few common causes, far from zero.
    values = 100 + rng.normal(size=(40, 3)) @ rng.normal(size=(3, 20)) + rng.normal(size=(40, 20))
    values[:, 4] = 1.5
    first, second = values[:, :12], values[:, 12:]
    layers = {"a": layer_of(first, tmp_path, "a"), "b": layer_of(second, tmp_path, "b")}
    units = {"a": [0, 2, 3, 4, 6, 7, 8, 9, 11], "b": [1, 2, 5]}
    found = correlated_units(layers, units)
    assert ("a", 4) not in found
    places = [("a", u) for u in units["a"] if u != 4] + [("b", u) for u in units["b"]]
    columns = [first[:, u] if name == "a" else second[:, u] for name, u in places]
    matrix = np.asarray(np.corrcoef(np.asarray(columns, np.float32)))
    for row, place in enumerate(places):
        same, other = [], []
        for column in np.argsort(-matrix[row]).tolist():
            if column != row and matrix[row, column] > 0.001:
                (same if places[column][0] == place[0] else other).append(column)
        expected = [*same[:5], *other[:3]]
        assert [(n.layer, n.index) for n in found[place]] == [places[column] for column in expected]
        assert [n.likeness for n in found[place]] == pytest.approx(matrix[row, expected], abs=6e-4)


def test_layers_of_other_images_are_not_compared(tmp_path):
    values = np.random.default_rng(0).random((9, 4))
    layers = {
        "a": layer_of(values, tmp_path, "a"),
        "b": layer_of(values, tmp_path, "b", seed=1),
        "c": layer_of(values[:8], tmp_path, "c"),
    }
    found = correlated_units(layers, dict.fromkeys(layers, range(4)))
    assert {(place[0], near.layer) for place, of in found.items() for near in of} == {
        *(("a", "a"), ("b", "b"), ("c", "c"))
    }


def test_the_page_says_why_there_are_no_similarities(tmp_path):
    records = [Description(UnitId("net", "a", 0), method, "sea") for method in ("one", "two")]
    run = write_run(tmp_path / "run", records)
    page = write_report(run, RunImages(), tmp_path / "out").read_text()
    assert "No similarity of sentences: The run has no sentence encoder." in page
    assert "similarity, control" not in page


def test_the_category_of_a_unit_is_that_of_its_label(tmp_path):
    label = Candidate("sea", 0.5, {"category": "object"})
    records = [
        Description(UnitId("net", "a", 0), "words", "sea", candidates=(label,)),
        Description(UnitId("net", "a", 1), "words", None, "below_threshold", candidates=(label,)),
        Description(UnitId("net", "a", 2), "words", "sea", candidates=(Candidate("sea", 0.5),)),
    ]
    units = unit_reports(write_run(tmp_path, records), {})
    assert [unit.descriptions[0].category for unit in units] == ["object", "", ""]
