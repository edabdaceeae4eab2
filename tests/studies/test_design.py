"""Designed studies: complete, balanced, blind, and the same for the same seed."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from study_runs import METHODS, small_run

from dissectbench.harness.cli import main
from dissectbench.results.studies import Study


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def design(run, tmp_path, capsys):
    """Designs a study; returns it, and the printed plan."""

    def call(*options, out="study"):
        path = tmp_path / out
        code = main(["study", "design", str(run.path), "--out", str(path), "--json", *options])
        captured = capsys.readouterr()
        if code:
            return None, captured.err
        return Study(path), json.loads(captured.out)

    return call


def files(study):
    return {
        str(path.relative_to(study.path)): path.read_bytes()
        for path in sorted(study.path.rglob("*"))
        if path.is_file()
    }


def test_every_unit_is_a_task_with_its_exemplars_and_the_descriptions_of_all_methods(run, design):
    study, printed = design("--per-layer", "4", "--attention", "2", "--reward", "0.25", "--raters", "5")
    units = [task for task, key in study.key.items() if key[0].role == "unit"]
    assert len(units) == 8
    assert Counter(study.key[task][0].layer for task in units) == {"layer4": 4, "fc": 4}
    texts = {(d.unit.layer, d.unit.index, d.method): d for d in run.records}
    for task in units:
        rows = study.key[task]
        assert {row.method for row in rows} == set(METHODS)
        for row in rows:
            record = texts[row.layer, row.unit, row.method]
            text = record.text or record.candidates[0].text
            assert study.tasks[task].descriptions[row.slot - 1].casefold() == text.casefold()
        assert len(study.tasks[task].images) == 10
    plan = printed["plan"]
    assert plan["tasks"] == {"attention": 2, "unit": 8}
    assert plan["answers"] == 50
    assert plan["cost_usd"] == pytest.approx(50 * 0.25 * 1.2)


def test_images_are_small_jpeg_files_without_metadata_and_each_is_stored_once(design):
    study, _ = design("--per-layer", "4", "--image-size", "96")
    shown = {name for task in study.tasks.values() for name in task.images}
    assert {path.name for path in study.images.iterdir()} == shown
    contents = set()
    for name in shown:
        assert re.fullmatch(r"[0-9a-f]{24}\.jpg", name)
        content = (study.images / name).read_bytes()
        contents.add(content)
        with Image.open(study.images / name) as image:
            assert image.size == (96, 96)
            assert not image.getexif()
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert len(contents) == len(shown)


def test_nothing_that_raters_see_names_a_method_a_layer_or_the_target(run, design):
    study, _ = design("--per-layer", "4", "--repeat", "0.5", "--attention", "2")
    names = [*METHODS, "layer4", "fc", run.selection.target, "unit", "attention_check", "repeat"]
    public = [study.path / "tasks.jsonl", *study.images.iterdir()]
    for path in public:
        content = path.name.encode() + path.read_bytes()
        for name in names:
            # Words of two letters occur in compressed images by chance.
            if len(name) > 4 or path.suffix != ".jpg":
                assert not re.search(rb"\b" + name.encode() + rb"\b", content), (path, name)


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_study(design, tmp_path):
    options = ("--per-layer", "3", "--repeat", "0.5")
    first, _ = design(*options, out="a")
    second, _ = design(*options, out="b")
    other, _ = design(*options, "--seed", "1", out="c")
    secret = "secret.json"
    a, b = files(first), files(second)
    assert a.pop(secret) != b.pop(secret)
    assert a == b
    assert first.design != other.design
    assert list(first.tasks) != list(other.tasks)
    again, _ = design(*options, out="a")
    assert files(again)[secret] == (tmp_path / "a" / secret).read_bytes()


def test_a_contact_sheet_is_one_image_of_all_exemplars(design):
    single, _ = design("--units", "fc:3", "--image-size", "64", "--attention", "0", out="a")
    sheet, _ = design("--units", "fc:3", "--image-size", "64", "--attention", "0", "--contact-sheet")
    (task,) = sheet.tasks.values()
    with Image.open(sheet.images / task.images[0]) as image:
        assert image.size == (5 * 64 + 4 * 4, 2 * 64 + 4)
        left = np.asarray(image.convert("L"))[:64, :64].astype(int)
    (task,) = single.tasks.values()
    with Image.open(single.images / task.images[0]) as image:
        alone = np.asarray(image.convert("L")).astype(int)
    assert np.abs(left - alone).mean() < 4
