"""Rendered tinyworld folders: Broden's layout, complete or absent."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets import tinyworld
from dissectbench.datasets.broden import Broden
from dissectbench.datasets.tinyworld import rendered_folder
from dissectbench.datasets.tinyworld.captions import caption
from dissectbench.datasets.tinyworld.rendering import render_image
from dissectbench.datasets.tinyworld.words import CATEGORIES, OBJECTS, WORDS
from dissectbench.harness.errors import InputError

IMAGES = 30


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return rendered_folder.ensure_folder(tmp_path_factory.mktemp("rendered") / "tiny", IMAGES, 0)


@pytest.fixture(scope="module")
def probe(root):
    return tinyworld.probing_set(IMAGES, 0, root)


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def planes_of(root, cell):
    for token in filter(None, cell.split(";")):
        if token.isdigit():
            yield np.full((48, 48), int(token))
        else:
            pixels = np.asarray(Image.open(root / "images" / token)).astype(int)
            assert not pixels[..., 2].any()
            yield pixels[..., 0] + 256 * pixels[..., 1]


def test_images_captions_and_classes_are_read_back(probe):
    for index in (0, 17):
        rendered = render_image(0, index)
        assert (np.asarray(probe.image(index)) == rendered.pixels).all()
        assert probe.caption(index) == caption(rendered.spec)
        assert probe.classes[probe.labels[index]] == rendered.spec.main.kind


def test_annotations_are_read_back(probe):
    for index in (0, 17):
        rendered, annotation = render_image(0, index), probe.annotations.of(index)
        labels = [""] + [label.name for label in probe.annotations.labels]
        planes = (rendered.colour, rendered.object, *rendered.parts, rendered.texture)
        expected = [[WORDS[n - 1] if n else "" for n in plane.ravel()] for plane in planes if plane.any()]
        assert [[labels[n] for n in plane.ravel()] for plane in annotation.planes] == expected
        assert [labels[n] for n in annotation.whole] == [rendered.spec.scene]


def test_frequency_and_coverage_are_the_sums_over_the_planes(root):
    labels = table(root / "label.csv")
    frequency, coverage = np.zeros((2, len(labels) + 1))
    for row in table(root / "index.csv"):
        assert (row["ih"], row["iw"], row["sh"], row["sw"]) == ("96", "96", "48", "48")
        planes = np.stack([plane for c in CATEGORIES for plane in planes_of(root, row[c])])
        counts = np.bincount(planes.ravel(), minlength=len(labels) + 1)
        frequency += counts > 0
        coverage += counts / (48 * 48)
    for row in labels:
        number = int(row["number"])
        assert int(row["frequency"]) == frequency[number]
        assert float(row["coverage"]) == pytest.approx(coverage[number], abs=1e-5)


def test_labels_are_numbered_from_one_by_frequency(root):
    labels = table(root / "label.csv")
    assert [int(row["number"]) for row in labels] == list(range(1, len(labels) + 1))
    assert all(int(a["frequency"]) >= int(b["frequency"]) for a, b in pairwise(labels))


def test_the_tables_of_the_categories_agree_with_the_labels(root):
    labels = {int(row["number"]): row for row in table(root / "label.csv")}
    listed = []
    for row in table(root / "category.csv"):
        codes = table(root / f"c_{row['name']}.csv")
        numbers = [int(code["number"]) for code in codes]
        assert [int(code["code"]) for code in codes] == list(range(1, len(codes) + 1))
        assert (int(row["first"]), int(row["last"])) == (min(numbers), max(numbers))
        assert int(row["count"]) == len(codes)
        assert int(row["frequency"]) == sum(int(code["frequency"]) for code in codes)
        for code in codes:
            label = labels[int(code["number"])]
            assert label["category"] == f"{row['name']}({code['frequency']})"
            assert label["name"] == code["name"]
        listed += numbers
    assert sorted(listed) == sorted(labels)


def test_the_folder_can_be_read_as_broden(root):
    plain = Broden(root)
    assert plain.annotations is not None
    assert len(plain) == IMAGES
    assert plain.annotations.categories == tuple(CATEGORIES)
    assert Broden(root, split="train").entries
    assert Broden(root, split="val").entries


def test_classes_are_the_final_layers_units(probe):
    assert probe.classes == tuple(OBJECTS)
    assert tuple(texts[0] for texts in tinyworld.references().texts) == probe.classes
    assert probe.labels.dtype == np.int64


def test_the_concept_set_contains_the_vocabulary_and_other_words():
    concepts = tinyworld.concepts()
    assert concepts.words[: len(WORDS)] == WORDS
    assert len(concepts) > len(WORDS) + 300
    assert concepts.report.duplicates == 0


def test_a_rendered_folder_is_reused(root, monkeypatch):
    monkeypatch.setattr(rendered_folder, "write_folder", lambda *_: pytest.fail("rendered twice"))
    assert rendered_folder.ensure_folder(root, IMAGES, 0) == root


def test_rendering_again_gives_the_same_fingerprint(probe, tmp_path):
    again = tinyworld.probing_set(IMAGES, 0, tmp_path / "again")
    assert again.annotations is not None
    assert again.fingerprint() == probe.fingerprint()
    assert again.annotations.fingerprint() == probe.annotations.fingerprint()


def test_a_smaller_set_contains_the_same_images(probe, tmp_path):
    small = tinyworld.probing_set(3, 0, tmp_path / "small")
    assert all((np.asarray(small.image(i)) == np.asarray(probe.image(i))).all() for i in range(3))


def test_the_cache_folder_is_named_by_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path))
    first, other = tinyworld.probing_set(2), tinyworld.probing_set(2, seed=1)
    assert first.root.is_relative_to(tmp_path / "tinyworld")
    assert first.root != other.root


def test_an_interrupted_rendering_leaves_no_files(tmp_path, monkeypatch):
    def interrupt(seed, index):
        if index == 2:
            raise KeyboardInterrupt
        return render_image(seed, index)

    monkeypatch.setattr(rendered_folder, "render_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rendered_folder.ensure_folder(tmp_path / "rendered", 5, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_finished_first_is_kept(tmp_path, monkeypatch):
    write = rendered_folder.write_folder

    def write_after_another(temporary, images, seed):
        write(temporary, images, seed)
        # Another process finishes first.
        (tmp_path / "rendered").mkdir()
        write(tmp_path / "rendered", images, seed)

    monkeypatch.setattr(rendered_folder, "write_folder", write_after_another)
    assert rendered_folder.ensure_folder(tmp_path / "rendered", 2, 0) == tmp_path / "rendered"
    assert [path.name for path in tmp_path.iterdir()] == ["rendered"]


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="neither empty nor a rendered tinyworld folder"):
        tinyworld.probing_set(2, 0, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_folder_with_other_settings_is_refused(root):
    with pytest.raises(InputError, match="was rendered with other settings"):
        tinyworld.probing_set(IMAGES, 5, root)
    assert json.loads((root / "manifest.json").read_text())["seed"] == 0


@pytest.mark.parametrize(("images", "seed"), [(0, 0), (5, -1), (2.5, 0), ("many", 0)])
def test_numbers_out_of_range_are_refused(images, seed, tmp_path):
    with pytest.raises(InputError, match="must be an integer"):
        tinyworld.probing_set(images, seed, tmp_path / "rendered")
