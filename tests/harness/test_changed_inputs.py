"""Tests that a run with changed inputs is refused, and that the message says which input changed."""

import os
import sys
import time

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness import compose, run
from dissectbench.harness.errors import InputError
from dissectbench.harness.files import read_json, write_json

MODULE = """
import torch
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

preprocess = Compose([Resize((16, 16)), ToTensor(), Normalize([MEAN] * 3, [0.25] * 3)])

def build(width=4):
    SEED
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3), torch.nn.RELU())
"""


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((20, 20)).save(folder / f"{number}.png")
        os.utime(folder / f"{number}.png", (1e9, 1e9))
    return folder


@pytest.fixture
def describe(tmp_path, images, monkeypatch):
    """A function that writes a module with a network, and describes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def describe(*settings, seed="torch.manual_seed(0)", mean="0.5", activation="ReLU"):
        source = MODULE.replace("SEED", seed).replace("MEAN", mean).replace("RELU", activation)
        (tmp_path / "changing_net.py").write_text(source)
        sys.modules.pop("changing_net", None)
        # A source of equal size, written within a second, would be taken from the bytecode.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        overrides = [
            *("target=changing_net:build", "probe=flat", f"probe.root={images}", "name=net"),
            *(
                "probe.annotations=colours",
                "method=[network_dissection]",
                "metric={}",
                "final_layer=null",
            ),
            *("layers=[0,1]", "device=cpu", "activations.quantile_tail=0.05"),
        ]
        return run(compose([*overrides, *settings]), runs=tmp_path / "runs")

    yield describe
    sys.modules.pop("changing_net", None)


def refusal(describe, *settings, **changes) -> str:
    with pytest.raises(InputError) as caught:
        describe(*settings, **changes)
    return str(caught.value)


def test_a_seeded_network_is_described_once(describe):
    first = [record.text for record in describe().records]
    assert [record.text for record in describe().records] == first


@pytest.mark.parametrize(
    ("settings", "changes", "changed"),
    [
        ([], {"seed": "torch.manual_seed(1)"}, "the weights of the target"),
        ([], {"mean": "0.4"}, "the preprocessing of the target"),
        ([], {"activation": "Sigmoid"}, "the architecture of the target"),
        (
            ["+target.width=5"],
            {},
            "the architecture of the target, the settings that build the target, "
            "the weights of the target",
        ),
    ],
)
def test_the_changed_part_of_the_target_is_named(describe, tmp_path, settings, changes, changed):
    describe()
    stored = sorted((tmp_path / "runs" / ".activations").iterdir())
    message = refusal(describe, *settings, **changes)
    assert f"since then have changed: {changed}\n" in message
    assert ("torch.manual_seed(0)" in message) == ("weights" in changed)
    # Refused before the pass over the images.
    assert sorted((tmp_path / "runs" / ".activations").iterdir()) == stored


def test_an_unseeded_network_is_refused_with_the_remedy(describe):
    describe(seed="pass")
    assert "A network with random weights must set a seed" in refusal(describe, seed="pass")


def test_a_changed_image_is_named(describe, images):
    describe()
    later = time.time() + 60
    os.utime(images / "3.png", (later, later))
    message = refusal(describe)
    assert "the image files (6 images, now 6)" in message
    assert f"{images / '3.png'} was changed after" in message


def test_another_number_of_images_is_named(describe, images):
    describe()
    (images / "5.png").unlink()
    message = refusal(describe)
    assert "the number of images, the image files (6 images, now 5)" in message
    assert "was changed after" not in message


def test_another_way_to_read_a_layer_is_named(describe):
    describe()
    message = refusal(describe, "activations.pool=max")
    assert "other activations of layer 0: the layer is read in another way" in message


def test_a_folder_of_an_earlier_version_is_continued_or_refused(describe, tmp_path):
    describe()
    path = tmp_path / "runs" / "net" / "identity.json"
    old = {key: value for key, value in read_json(path).items() if key not in ("target", "probing_set")}
    write_json(path, old)
    assert "the weights, the preprocessing or the images changed" in refusal(describe, mean="0.4")
    describe()
    assert set(read_json(path)) == {*old, "target", "probing_set"}
