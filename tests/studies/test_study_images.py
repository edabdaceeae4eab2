"""Images show the region where a unit is active: a line around it, or the region alone."""

import numpy as np
import pytest
from PIL import Image
from study_runs import small_run

from dissectbench.harness.report import region_thresholds, upsampling
from dissectbench.harness.studies.frame import open_frame
from dissectbench.harness.studies.images import (
    ImageSettings,
    contact_sheet,
    outlined,
    square_around,
    write_exemplars,
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return open_frame([small_run(tmp_path_factory.mktemp("runs")).path])


@pytest.fixture
def units(opened):
    of_layer = {unit.layer: unit for unit in opened.frame.texts}
    return [of_layer["layer4"], of_layer["fc"]]


def written(opened, units, folder, **settings):
    folder.mkdir()
    files = write_exemplars(opened.run, opened.layers, units, ImageSettings(4, 96, **settings), folder)
    return {
        unit: [np.asarray(Image.open(path)).astype(int) for path in paths]
        for unit, paths in files.items()
    }


def test_images_are_what_the_target_saw_strongest_first(opened, units, tmp_path):
    images = written(opened, units, tmp_path / "plain")
    for unit in units:
        layer = opened.layers[unit.layer]
        for index, image in zip(layer.exemplars(unit.index, 4).indices, images[unit], strict=True):
            original = layer.probe.image(int(index)).convert("RGB").resize((96, 96))
            assert np.abs(image - np.asarray(original).astype(int)).mean() < 12


def test_an_outline_changes_only_pixels_near_the_border_of_the_region(opened, units, tmp_path):
    plain = written(opened, units, tmp_path / "plain")
    lined = written(opened, units, tmp_path / "lined", regions="outline")
    spatial, vector = units
    changed = [
        np.abs(a - b).max(axis=2) > 60 for a, b in zip(plain[spatial], lined[spatial], strict=True)
    ]
    assert any(mask.any() for mask in changed)
    assert all(mask.mean() < 0.3 for mask in changed)
    # A unit of a vector layer has no region.
    assert all((a == b).all() for a, b in zip(plain[vector], lined[vector], strict=True))


def test_the_line_follows_the_border_on_both_sides():
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    image = outlined(np.full((40, 40, 3), 100, np.uint8), mask)
    row = image[20, :, 0].tolist()
    assert row[7:13] == [100, 0, 255, 255, 0, 100]
    assert row[27:33] == [100, 0, 255, 255, 0, 100]


def test_a_region_at_the_border_of_the_image_has_no_line_along_it():
    mask = np.zeros((40, 40), bool)
    mask[:, 20:] = True
    row = outlined(np.full((40, 40, 3), 100, np.uint8), mask)[0, :, 0].tolist()
    assert row[17:23] == [100, 0, 255, 255, 0, 100]
    assert row[23:] == [100] * 17


def test_a_crop_is_a_square_inside_the_image_that_contains_the_region():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = np.zeros((64, 64), bool)
        top, left = rng.integers(0, 64, 2)
        mask[top : top + rng.integers(1, 64), left : left + rng.integers(1, 64)] = True
        part = square_around(mask)
        assert part.right - part.left == pytest.approx(part.bottom - part.top)
        assert 0.25 <= part.right - part.left <= 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert 0 <= part.left <= columns[0] / 64
        assert (columns[-1] + 1) / 64 <= part.right + 1e-9 <= 1 + 2e-9
        assert 0 <= part.top <= rows[0] / 64
        assert (rows[-1] + 1) / 64 <= part.bottom + 1e-9 <= 1 + 2e-9


def test_crops_are_of_the_size_of_whole_images(opened, units, tmp_path):
    crops = written(opened, units, tmp_path / "crops", regions="crop")
    assert all(image.shape == (96, 96, 3) for images in crops.values() for image in images)


def test_regions_have_the_thresholds_of_the_report(opened, units):
    layer = opened.layers["layer4"]
    thresholds = region_thresholds(opened.run, layer)
    assert np.isfinite(thresholds[units[0].index])
    assert upsampling(opened.run).mode == "half_pixel"


def test_a_contact_sheet_of_few_images_has_one_row():
    tiles = [np.full((8, 8, 3), k, np.uint8) for k in range(7)]
    assert contact_sheet(tiles[:3]).shape == (8, 3 * 8 + 2 * 4, 3)
    sheet = contact_sheet(tiles)
    assert sheet.shape == (2 * 8 + 4, 5 * 8 + 4 * 4, 3)
    assert (sheet[12:, 12:20] == 6).all()
    assert (sheet[12:, 24:] == 255).all()
