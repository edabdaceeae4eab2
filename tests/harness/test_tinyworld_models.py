"""Models of tinyworld describe tinyworld only, unless they are allowed by name."""

import json

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness.cli import main
from dissectbench.harness.config import build, compose
from dissectbench.harness.tinyworld_models import tinyworld_models

PHOTOS = ["probe=imagefolder", "probe.root=photos"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working directory, with a folder of 104 images in two classes."""
    rng = np.random.default_rng(0)
    for name in ("duck", "goose"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(52):
            pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*settings, scored=True):
    config = compose(settings).config
    metrics = list(config.metric) if scored else []
    return tinyworld_models(config, build(config.probe, "probe"), scored=scored, metrics=metrics)


def test_the_demo_is_what_tinyworlds_models_are_made_for(photos):
    assert names("probe.images=4") == []


def test_real_models_are_the_default_as_soon_as_images_or_a_target_are_chosen(photos):
    assert names("target=resnet18", *PHOTOS) == []
    assert names("target=tinyworld", *PHOTOS) == ["target"]


def test_only_the_models_in_use_count(photos):
    demo = ["experiment=demo", "target=resnet18", *PHOTOS]
    assert names(*demo, "method=[network_dissection]", scored=False) == []
    assert names(*demo, "method=[clip_dissect]", scored=False) == ["encoder", "concepts"]
    assert names(*demo, scored=False) == [
        *("encoder", "concepts", "milan_tinyworld", "captioner", "generator"),
    ]
    assert set(names(*demo)) - set(names(*demo, scored=False)) == {"references", "tinyworld_clip_cosine"}
    concepts = [*demo, "method=[describe_and_dissect]", "captioner=concepts", "encoder=clip_vit_b16"]
    assert names(*concepts, "generator=stable_diffusion", scored=False) == ["concepts"]


def test_photographs_are_refused_and_real_models_named(photos, capsys):
    assert main(["run", "experiment=demo", *PHOTOS, "layers=[fc]", "method=[clip_dissect]"]) == 2
    message = capsys.readouterr().err
    assert "encoder, concepts" in message
    assert "made for the images of tinyworld, but the probing set is photos" in message
    assert "encoder=clip_vit_b16" in message
    assert "allow_tinyworld=[target,encoder,concepts" in message
    assert not (photos / "runs").exists()


@pytest.mark.slow
def test_an_allowed_model_is_named_in_the_footer_of_every_table(photos, capsys):
    settings = ["name=forced", "experiment=demo", *PHOTOS, "layers=[fc]", "units=3", "table.resamples=50"]
    settings += ["method=[clip_dissect]", "metric=[synonym_accuracy]", "device=cpu"]
    allowed = ["target", "encoder", "concepts", "references"]
    assert main(["run", "--json", *settings, f"allow_tinyworld=[{','.join(allowed)}]"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert len(tables) >= 3
    for table in tables:
        assert table["footer"]["made for tinyworld, not for these images"] == ", ".join(allowed)
    for file in (photos / "runs" / "forced" / "tables").glob("*.md"):
        assert "made for tinyworld" in file.read_text()
