"""What `dissect` returns: units to look at, the report and figures of objects in memory."""

import base64
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Resize, ToTensor

from dissectbench.harness import InputError, dissect
from dissectbench.harness.report import report_run, unit_html

IMAGES = 24


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in range(IMAGES)]
    return dissect(
        network,
        arrays,
        preprocess=Compose([Resize((32, 32)), ToTensor()]),
        layers=["0", "4"],
        units=4,
        settings=["activations.quantile_tail=0.05"],
        runs=tmp_path_factory.mktemp("runs"),
    )


def test_the_summary_names_layers_units_methods_and_the_folder(result):
    for text in (repr(result), result._repr_html_()):
        for part in ("Sequential", "24 images", "4 of 6 units", "2 of 2 units", "network_dissection"):
            assert part in text
        assert str(result.run.path) in text
    assert "<script" not in result._repr_html_()


def test_units_are_found_by_layer_and_index_and_in_order(result):
    units = list(result)
    assert len(units) == len(result) == 6
    assert [unit.id for unit in units] == list(dict.fromkeys(d.unit for d in result.run.records))
    unit = result["4", 1]
    assert unit == result.unit("4", 1)
    assert (unit.layer.name, unit.index) == ("4", 1)
    assert np.array_equal(unit.values, result.layers["4"].values[:, 1])
    assert unit.exemplars(3).values.tolist() == sorted(unit.values.tolist(), reverse=True)[:3]
    assert unit.descriptions[["layer", "unit"]].to_numpy().tolist() == [["4", 1]]


@pytest.mark.parametrize(("layer", "index"), [("5", 0), ("4", 2), ("4", -1)])
def test_a_unit_that_was_not_asked_for_is_an_error(result, layer, index):
    with pytest.raises(InputError, match=re.escape(layer)):
        result[layer, index]


def test_a_unit_is_shown_with_its_images_and_regions(result):
    unit = result["0", result.run.selection.units["0"][0]]
    html = unit._repr_html_()
    bands, evidence = (
        re.findall(r'src="data:image/webp;base64,([^"]+)"', part)
        for part in html.split("<h4>Evidence</h4>")
    )
    images = bands + evidence
    assert len(bands) == 10 + 5 + 5
    assert evidence
    assert all(base64.b64decode(image).startswith(b"RIFF") for image in images)
    assert 'class="edge"' in html
    assert "<script" not in html
    assert not re.search(r"https?://", html)
    assert f"0 / {unit.index}" in html


def test_a_unit_is_printed_with_the_names_of_its_images(result):
    text = repr(result["4", 0])
    assert text.startswith("4:0 of Sequential")
    assert "network_dissection" in text
    best = result["4", 0].exemplars(1).indices[0]
    assert f"images[{best}]" in text
    assert "no paths" not in text


def test_without_the_objects_the_section_says_why_it_has_no_images(result):
    html = unit_html(result.run, result["4", 0].id)
    assert "There are no images: the target or the images of the run were given in memory" in html
    assert "<img" not in html
    assert "network_dissection" in html


def test_the_report_of_objects_in_memory_has_images(result, tmp_path):
    page = result.report(tmp_path / "page")
    assert page == tmp_path / "page" / "index.html"
    assert "RIFF" not in page.read_text()
    assert '"thumbnails":["' in page.read_text()
    assert '"thumbnails":[]' in report_run(result.run, tmp_path / "without").read_text()
    assert result.report() == result.run.path / "report" / "index.html"


def test_figures_of_objects_in_memory_state_how_units_were_chosen(result, tmp_path):
    path = result.figure([("0", result.run.selection.units["0"][0]), ("4", 1)], tmp_path / "hand.png")
    assert Image.open(path).width == int(6.875 * 300)
    assert "chosen by hand" in path.with_suffix(".txt").read_text()
    path = result.figure("random", tmp_path / "rule.svg", per_layer=1, seed=3)
    assert "(seed 3): 1 unit of each of 0, 4" in path.with_suffix(".txt").read_text()
    with pytest.raises(InputError, match="unit 7"):
        result.figure([("4", 7)], tmp_path / "none.png")
