"""Images that cannot be read and are left out are listed and counted wherever a run is reported."""

import json

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness.cli import main
from dissectbench.harness.finished_run import FinishedRun

RUN = [
    *("name=holes", "target=tinyworld", "probe=imagefolder", "probe.root=photos", "device=cpu"),
    *("layers=[fc]", "method=[network_dissection]", "final_layer=null", "allow_tinyworld=[target]"),
    *("table.resamples=50", "units=3"),
]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working directory, with 12 images in `photos`, two of which are damaged."""
    rng = np.random.default_rng(0)
    for name in ("duck", "goose"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    for path in ("duck/3.png", "goose/0.png"):
        (tmp_path / "photos" / path).write_bytes(b"not an image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_unreadable_image_ends_the_run_and_is_named(photos, capsys):
    assert main(["run", *RUN]) == 2
    assert "duck/3.png" in capsys.readouterr().err


def test_skipped_images_are_in_the_folder_the_tables_and_the_next_plan(photos, capsys):
    assert main(["run", "--json", *RUN, "activations.on_error=skip"]) == 0
    printed = capsys.readouterr()
    for table in json.loads(printed.out)["tables"]:
        assert table["footer"]["probing set"] == "photos, 10 images (2 unreadable, left out)"
    run = FinishedRun("runs/holes")
    assert [path.rpartition("photos/")[2] for path in run.skipped_images] == ["duck/3.png", "goose/0.png"]
    assert all(run.skipped_images.values())
    assert "unreadable images left out: 2" in printed.err
    assert "skipped_images.json" in printed.err

    assert main(["run", "--dry-run", *RUN, "activations.on_error=skip"]) == 0
    assert "12 images, 2 of them unreadable and left out" in capsys.readouterr().out


def test_without_unreadable_images_the_list_is_empty(photos, capsys):
    for path in ("duck/3.png", "goose/0.png"):
        (photos / "photos" / path).unlink()
    assert main(["run", *RUN, "activations.on_error=skip"]) == 0
    assert FinishedRun("runs/holes").skipped_images == {}
    assert "left out" not in capsys.readouterr().out
