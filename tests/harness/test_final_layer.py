"""Which layer is scored, and the errors where that cannot be decided."""

import pytest
from torch import nn
from torchvision.transforms import ToTensor

from dissectbench.harness.cli import main
from dissectbench.harness.config import compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.parts import assemble
from dissectbench.harness.targets import Taps, Target


class Net(nn.Module):
    """A network whose output goes through `last`, a function."""

    def __init__(self, last):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)
        self.last = last

    def forward(self, images):
        return self.last(self.fc(self.pool(self.conv(images)).flatten(1)))


def taps(last, layers):
    return Taps(Target.of(Net(last), ToTensor(), name="net", device="cpu", example_size=(8, 8)), layers)


@pytest.mark.parametrize(
    ("last", "layers", "output"),
    [
        (lambda x: x, ["conv", "fc"], "fc"),
        (lambda x: {"logits": x}, ["conv", "fc"], "fc"),
        (lambda x: (x, x + 1), ["fc"], "fc"),
        (lambda x: x.reshape(-1, 2, 1, 1), ["fc"], "fc"),
        (lambda x: x, ["conv"], None),
        (lambda x: x.softmax(-1), ["conv", "fc"], None),
        (lambda x: x.mul_(2), ["fc"], None),  # the same memory, but other values
        (lambda x: x[:, :1], ["fc"], None),
    ],
)
def test_the_output_layer_is_the_one_whose_values_the_network_returns(last, layers, output):
    assert taps(last, layers).output == output
    assert taps(last, layers).only(layers[:1]).output == (output if layers[:1] == [output] else None)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parts(*settings):
    chosen = ["probe.images=10", "device=cpu", "method=[network_dissection]", "metric=[synonym_accuracy]"]
    return assemble(compose([*chosen, *settings]))


def test_auto_scores_the_output_of_the_target_if_it_is_among_the_layers(home):
    assert parts("layers=[layer4,fc]").final_layer == "fc"
    assert parts("layers=[layer4]").final_layer is None
    assert not parts("layers=[layer4]").scored
    assert not parts("layers=[fc]", "final_layer=null").scored


def test_a_plan_says_why_nothing_is_scored(home, capsys):
    assert main(["run", "--dry-run", "probe.images=10", "layers=[layer4]"]) == 0
    assert "no layer is the target's output" in capsys.readouterr().out


def test_a_final_layer_that_is_not_among_the_layers_is_refused_with_the_nearest(home):
    with pytest.raises(InputError) as caught:
        parts("layers=[layer4,fc]", "final_layer=fcc")
    message = str(caught.value)
    assert "final_layer=fcc is not among the layers of this run (layer4, fc)" in message
    assert "did you mean fc" in message
    assert "final_layer=null" in message


@pytest.mark.parametrize("final_layer", ["auto", "fc"])
def test_references_of_another_number_are_refused_with_what_to_do(home, final_layer):
    (home / "names.txt").write_text("ant\nbee\n")
    settings = ["layers=[fc]", "references=file", "references.path=names.txt"]
    with pytest.raises(InputError) as caught:
        parts(*settings, f"final_layer={final_layer}")
    message = str(caught.value)
    assert "layer fc has 18 units, but references names name 2" in message
    assert "references=probe" in message
    assert "final_layer=null" in message


def test_references_that_refer_to_the_final_layer_get_the_one_that_is_found(home):
    (home / "annotations.csv").write_text(
        "layer,unit,summary\n"
        + "".join(f"fc,{unit},a thing\nlayer4,{unit},another\n" for unit in range(18))
    )
    settings = ["references=milannotations", "references.path=annotations.csv"]
    references = parts("layers=[fc]", *settings).references
    assert references is not None
    assert references.texts[0] == ("a thing",)
