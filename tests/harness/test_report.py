"""The report of a run: regions are the masks that were counted, and it works without activations."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from run_folders import write_run
from torch import nn
from torchvision.transforms import Compose, Resize, ToTensor

from dissectbench.harness import FinishedRun, InputError, dissect
from dissectbench.harness.cli import main
from dissectbench.harness.config import compose
from dissectbench.harness.description_vectors import description_sentences
from dissectbench.harness.foundation import sentence_encoders
from dissectbench.harness.records import Description, UnitId
from dissectbench.harness.report import active_masks, open_layers, report_run, run_images
from dissectbench.methods.milan.exemplars import mask_thresholds, stream_exemplars, top_images
from dissectbench.methods.milan.settings import ExemplarSettings
from dissectbench.methods.upsample import Upsampling

LOOK = Compose([Resize((32, 32)), ToTensor()])
IMAGES = 24


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )


@pytest.fixture(scope="module")
def found(network, tmp_path_factory):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in range(IMAGES)]
    return dissect(
        network,
        arrays,
        preprocess=LOOK,
        layers=["0", "4"],
        settings=["activations.quantile_tail=0.05"],
        runs=tmp_path_factory.mktemp("runs"),
    )


def test_regions_are_the_masks_that_network_dissection_counted(found):
    layer = found.layers["0"]
    annotations = layer.probe.annotations
    maps = np.concatenate([batch.maps for batch in layer.maps(range(IMAGES))])
    for record in found.run.records:
        if record.unit.layer != "0":
            continue
        pixels = 0
        for index in range(IMAGES):
            shape = annotations.of(index).shape
            threshold = np.array([record.evidence["threshold"]])
            own = maps[index, [record.unit.index]]
            pixels += active_masks(own, threshold, shape, Upsampling()).sum()
        assert pixels == record.evidence["mask_pixels"] > 0


def test_regions_are_the_masks_of_milan(found):
    layer, settings = found.layers["0"], ExemplarSettings(count=5, image_size=96, quantile=0.01)
    top = top_images(layer, range(6), 5)
    thresholds = mask_thresholds(layer, settings)
    for exemplar in stream_exemplars(layer, top, settings):
        [batch] = layer.maps([exemplar.index])
        units = top.units[exemplar.rows]
        masks = active_masks(batch.maps[0, units], thresholds[units], (96, 96), Upsampling())
        assert np.array_equal(masks, exemplar.masks)


def test_the_page_draws_the_regions_of_the_highest_values(found):
    images = run_images(found.run, found.layers)
    layer = found.layers["0"]
    exemplars = layer.exemplars(3, 10)
    shown = images.units["0", 3]
    assert [image.value for image in shown.top] == exemplars.values.tolist()
    threshold = next(r for r in found.run.records if r.unit.index == 3).evidence["threshold"]
    assert shown.threshold == threshold
    for image, index in zip(shown.top, exemplars.indices.tolist(), strict=True):
        [batch] = layer.maps([index])
        mask = active_masks(batch.maps[0, [3]], np.array([threshold]), (96, 96), Upsampling())[0]
        assert area(image.region) == mask.sum()
    assert len(images.thumbnails) <= IMAGES
    assert all(image.region is None for image in images.units["4", 0].top)
    assert sum(shown.histogram.counts) == IMAGES


def area(path):
    """The area inside an outline: of every loop, clockwise ones positive."""
    total = 0
    for start, steps in re.findall(r"M(\d+ \d+)((?:[hv]-?\d+)*)z", path):
        x, y = map(int, start.split())
        for kind, length in re.findall(r"([hv])(-?\d+)", steps):
            if kind == "h":
                x += int(length)
            else:
                total += x * int(length)
                y += int(length)
        total += x * (int(start.split()[1]) - y)
    return total


def data_of(page):
    found = re.search(r'id="data">(.*?)</script>', page.read_text())
    assert found is not None
    return json.loads(found[1])


def test_a_run_ends_with_its_report(found):
    data = data_of(found.run.path / "report" / "index.html")
    assert data["layers"] == ["0", "4"]
    assert len(data["units"]) == 8
    assert 0 < len(data["thumbnails"]) <= IMAGES


def test_layers_in_memory_are_named_as_the_reason_for_no_images(found, tmp_path, capsys):
    assert main(["report", str(found.run.path), "--out", str(tmp_path / "out"), "--json"]) == 0
    path = json.loads(capsys.readouterr().out)["page"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert path == str(tmp_path / "out" / "index.html")
    assert "The page has no images: the target or the images of the run were given in memory" in page


RUN = [
    *("run", "name=small", "probe.images=24", "layers=[layer4,fc]", "units=2", "device=cpu"),
    *("method=[network_dissection]", "metric=[exact_accuracy]", "table.resamples=10"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        assert main([*RUN, "--runs", str(folder)]) == 0
        yield folder / "small"


def test_a_finished_run_is_opened_again_with_the_same_page(small):
    before = (small / "report" / "index.html").read_text()
    assert "svg viewBox" in before
    report_run(FinishedRun(small))
    assert (small / "report" / "index.html").read_text() == before


def test_without_the_store_the_page_has_no_images_and_says_why(small, tmp_path):
    copy = shutil.copytree(small, tmp_path / "elsewhere" / "small")
    page = report_run(FinishedRun(copy)).read_text()
    assert "The page has no images: layer layer4: its activations are not in" in page
    with pytest.raises(InputError, match="not in"):
        open_layers(FinishedRun(copy))


def described(folder):
    texts = ("the sea", "a boat", "the sea")
    return write_run(
        folder,
        (Description(UnitId("net", "a", index), "words", text) for index, text in enumerate(texts)),
    )


@pytest.mark.slow
def test_descriptions_are_embedded_by_the_encoder_of_a_metric_once(tmp_path, monkeypatch):
    run = described(tmp_path / "runs" / "run")
    run.settings = compose(["metric=[exact_accuracy,minilm_cosine]"]).config
    first = description_sentences([run])
    assert first.encoder == "all-MiniLM-L6-v2"
    assert set(first.rows) == {"the sea", "a boat"}
    assert np.allclose(np.linalg.norm(first.vectors, axis=1), 1, atol=1e-6)
    monkeypatch.setattr(sentence_encoders, "_load", None)
    again = description_sentences([run])
    assert np.array_equal(again.vectors, first.vectors)


def test_an_encoder_that_is_not_available_is_no_error(tmp_path, monkeypatch):
    run = described(tmp_path / "runs" / "run")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    run.settings = compose(["metric=[mpnet_cosine]"]).config
    run.settings.metric.mpnet_cosine.encoder.model = "nobody/no-such-model"
    missing = description_sentences([run]).missing
    assert missing.startswith("The sentence encoder of mpnet_cosine is not available: ")


def test_the_report_can_be_switched_off(small, tmp_path, capsys):
    assert main([*RUN, "report=false", "--runs", str(tmp_path)]) == 0
    assert not (tmp_path / "small" / "report").exists()
    assert "index.html" not in capsys.readouterr().out


def test_the_run_prints_the_path_of_its_page(small, capsys):
    assert main([*RUN, "--runs", str(small.parent)]) == 0
    assert str(small / "report" / "index.html") in capsys.readouterr().out


def test_scores_are_shown_with_rank_and_control(small):
    data = data_of(small / "report" / "index.html")
    html = next(iter(data["sections"]["fc.0"].values()))[0]
    assert "exact_accuracy" in html
    assert re.search(r"rank \d of \d", html)
    assert "control" in html


def test_two_runs_are_one_page(small, tmp_path):
    again = shutil.copytree(small, small.parent / "again")
    out = tmp_path / "out"
    assert main(["report", str(small), str(again), "--out", str(out)]) == 0
    data = data_of(out / "index.html")
    assert data["methods"] == ["small: network_dissection", "again: network_dissection"]
    for row in data["units"]:
        assert row[2][0] == row[2][1]
        assert row[6] == 0
    assert data["thumbnails"] == data_of(small / "report" / "index.html")["thumbnails"]
    # Both have the same activations, so the images are shown once.
    assert all(html.count("Highest values") == 1 for html, _ in data["sections"]["layer4.0"].values())


def test_a_page_of_several_runs_needs_a_folder(small, capsys):
    assert main(["report", str(small), str(small)]) == 2
    assert "--out DIR" in capsys.readouterr().err
