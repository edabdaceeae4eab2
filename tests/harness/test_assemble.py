"""Assembling a run: what is computed before the pass over the images."""

from dissectbench.harness.config import compose
from dissectbench.harness.progress import Progress
from dissectbench.harness.run import activations, assemble

COUNTING = """
from dissectbench.datasets.tinyworld.networks import resnet

SIZES = []


def make():
    model, preprocess = resnet()
    model.register_forward_pre_hook(lambda _model, inputs: SIZES.append(len(inputs[0])))
    return model, preprocess
"""


def test_a_run_observes_its_network_once(tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    choices = ["target=factory", "target.factory=counting:make", "device=cpu", "probe.images=20"]
    chosen = ["layers=[layer4,fc]", "method=[network_dissection]", "metric=[]"]
    parts = assemble(compose([*choices, *chosen]))
    layers = activations(
        parts.taps, parts.probe, parts.activation_settings, tmp_path / "runs", Progress("none")
    )
    layers["layer4"].respond([parts.probe.image(0)])
    counting = __import__("counting")
    blank, blocks, respond = [2], [16, 16], [16]
    assert blank + blocks + respond == counting.SIZES
