"""A model that is not available is reported before the pass over the images."""

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness.cli import main

RUN = [
    *("run", "name=missing", "target=torchvision", "target.name=resnet18", "target.weights=null"),
    *("probe=imagefolder", "probe.root=photos", "device=cpu", "units=2"),
]


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch, hub_cache):
    """The working directory, with two images in `photos`; the Hugging Face cache is empty."""
    del hub_cache
    (tmp_path / "photos" / "duck").mkdir(parents=True)
    for number in range(2):
        pixels = np.full((40, 40, 3), 100 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "duck" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_a_missing_encoder_is_reported_with_what_works_without_it(photos, capsys, option):
    assert main([*RUN, "layers=[layer4]", *option]) == 2
    message = capsys.readouterr().err
    assert "ViT-B-16-quickgelu" in message
    assert "encoder.checkpoint=" in message
    assert "method=[network_dissection] works without it" in message
    assert not (photos / "runs").exists()


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_a_missing_model_of_a_metric_is_reported_only_if_it_is_used(photos, capsys, option):
    settings = [*RUN, "method=[network_dissection]", "table.resamples=10", *option]
    assert main([*settings, "layers=[fc]", "metric=[mpnet_cosine]"]) == 2
    message = capsys.readouterr().err
    assert "all-mpnet-base-v2" in message
    assert "exact_accuracy and synonym_accuracy need no model" in message
    assert not (photos / "runs").exists()
    assert main([*settings, "layers=[layer4]", "metric=[mpnet_cosine]"]) == 0


@pytest.mark.parametrize("target", ["timm target.name=test_vit target.pretrained=false", "torchvision"])
def test_a_setting_that_a_library_refuses_is_an_error_in_a_sentence(capsys, target):
    chosen = f"target={target}".split()
    settings = [*RUN[2:5], *RUN[5:]] if target == "torchvision" else RUN[5:]
    assert main(["run", *dict.fromkeys([*chosen, *settings]), "layers=[fc]", "+target.foo=1"]) == 2
    message = capsys.readouterr().err
    assert "cannot be built with the settings target.foo" in message
    assert "Traceback" not in message
