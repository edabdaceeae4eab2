"""Assembling a run, and its pass over the images."""

import sys

import pytest
from omegaconf import OmegaConf

from dissectbench.harness.config import compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.files import read_json
from dissectbench.harness.parts import assemble, build_all
from dissectbench.harness.progress import Progress
from dissectbench.harness.run import activations, bind
from dissectbench.harness.run_folder import RunFolder

COUNTING = """
from dissectbench.datasets.tinyworld.networks import resnet
from dissectbench.harness.targets import Target
from dissectbench.harness.targets.target import Loaded

SIZES = []


def make():
    model, preprocess = resnet()
    model.register_forward_pre_hook(lambda _model, inputs: SIZES.append(len(inputs[0])))
    return Target("counting", lambda: Loaded(model, preprocess, commit="c" * 40))
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A run of a network that records the number of images in each of its forward passes."""
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "counting", raising=False)
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    choices = [
        "experiment=demo",
        "target=factory",
        "target.factory=counting:make",
        "device=cpu",
        "probe.images=20",
    ]
    chosen = ["layers=[layer4,fc]", "method=[network_dissection]", "metric=[]"]
    return assemble(compose([*choices, *chosen]))


def test_a_run_observes_its_network_once(parts, tmp_path):
    layers = activations(
        parts.taps, parts.probe, parts.activation_settings, tmp_path / "runs", Progress("none")
    )
    layers["layer4"].respond([parts.probe.image(0)])
    blank, blocks, respond = [2], [16, 16], [16]
    assert blank + blocks + respond == __import__("counting").SIZES


def test_a_method_named_like_a_control_is_refused():
    node = {"mine": {"_target_": "types.SimpleNamespace", "name": "shuffled: mine"}}
    with pytest.raises(InputError, match="'shuffled: mine' begins with 'shuffled:'"):
        build_all(OmegaConf.create(node), "method")


def test_a_run_records_the_commit_of_its_targets_weights(parts, tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        bind(parts, {}, folder)
    target = read_json(tmp_path / "run" / "environment.json")["target"]
    assert target == {"name": "make", "fingerprint": parts.target.fingerprint(), "commit": "c" * 40}
