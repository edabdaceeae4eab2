"""Reading weights from files without running code, and loading them into a network."""

import argparse
import os
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from dissectbench.harness.errors import InputError
from dissectbench.harness.targets import checkpoints


def network(outputs=4) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(outputs)
        return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, outputs))


def equal(state, model):
    expected = model.state_dict()
    return list(state) == list(expected) and all(torch.equal(state[n], expected[n]) for n in expected)


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


LAYOUTS = {
    "plain": lambda state: state,
    "nested": lambda state: {"epoch": 90, "state_dict": state, "best": 0.7},
    "data_parallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "optimizer": {"state": {}}},
    "compiled": lambda state: {"model_state_dict": prefixed(state, "_orig_mod.module.")},
    "model": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)},
    "deeper": lambda state: {"model": {"state_dict": state}},
    "numpy_scores": lambda state: {"state_dict": state, "best_prec1": np.float64(0.5), "n": np.int64(3)},
}


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt", ".bin"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_in_every_usual_layout(tmp_path, layout, suffix):
    model = network()
    path = tmp_path / f"weights{suffix}"
    torch.save(LAYOUTS[layout](model.state_dict()), path)
    assert equal(checkpoints.load_checkpoint(path), model)


def test_files_of_the_old_format_are_read(tmp_path):
    model = network()
    path = tmp_path / "weights.pth.tar"
    torch.save(
        {"state_dict": prefixed(model.state_dict(), "module."), "best_prec1": torch.tensor(0.5)},
        path,
        _use_new_zipfile_serialization=False,
    )
    assert equal(checkpoints.load_checkpoint(str(path)), model)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read(tmp_path, prefix):
    model = network()
    save_file(prefixed(model.state_dict(), prefix), tmp_path / "weights.safetensors")
    state = checkpoints.load_checkpoint(tmp_path / "weights.safetensors")
    checkpoints.apply(other := network(4), state)
    assert equal(other.state_dict(), model)


def test_a_prefix_that_only_some_names_have_is_kept(tmp_path):
    state = {"model.a": torch.zeros(1), "head": torch.zeros(1)}
    torch.save(state, tmp_path / "weights.pt")
    assert set(checkpoints.load_checkpoint(tmp_path / "weights.pt")) == set(state)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_that_would_run_code_is_refused_without_running_it(tmp_path, new):
    marker, path = tmp_path / "code_ran", tmp_path / "weights.pth"
    torch.save(
        {"state_dict": network().state_dict(), "payload": Malicious(marker)},
        path,
        _use_new_zipfile_serialization=new,
    )
    with pytest.raises(InputError, match="could run code") as caught:
        checkpoints.load_checkpoint(path)
    assert not marker.exists()
    assert "mkdir" in str(caught.value)
    assert "state_dict()" in str(caught.value)


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(network(), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"besides tensors it contains torch\.nn"):
        checkpoints.load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_reported(tmp_path, suffix, kept):
    path = tmp_path / f"weights{suffix}"
    state = network().state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=f"weights{suffix} cannot be read.*\n.*damaged"):
        checkpoints.load_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_not_a_checkpoint_is_reported(tmp_path, suffix):
    path = tmp_path / f"page{suffix}"
    path.write_text("<html>404 Not Found</html>\n" * 100)
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.load_checkpoint(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(2)])
def test_a_file_without_weights_is_reported(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="contains no weights"):
        checkpoints.load_checkpoint(tmp_path / "weights.pth")


def test_a_missing_file_and_a_folder_are_reported(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth does not exist.*\n.*checkpoint="):
        checkpoints.load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(InputError, match="is a folder"):
        checkpoints.load_checkpoint(tmp_path)


def test_weights_that_fit_are_loaded():
    source, target = network(), network()
    with torch.no_grad():
        next(source.parameters()).add_(1)
    checkpoints.apply(target, source.state_dict())
    assert equal(target.state_dict(), source)


def test_files_without_batch_counts_fit():
    source, target = network(), network()
    state = {n: t for n, t in source.state_dict().items() if not n.endswith("num_batches_tracked")}
    checkpoints.apply(target, state)
    assert equal(target.state_dict(), source)


def test_old_names_of_densenet_fit():
    model: Any = torchvision.models.DenseNet(
        growth_rate=4, block_config=(1, 1, 1, 1), num_init_features=4
    )
    old = {
        name.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.").replace("conv2.", "conv.2."): tensor + 1
        for name, tensor in model.state_dict().items()
    }  # fmt: skip
    assert any(".norm.1." in name for name in old)
    checkpoints.apply(model, old)
    assert torch.equal(model.classifier.bias, old["classifier.bias"])


def test_another_number_of_classes_is_recognised():
    target = network(10)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(InputError, match=r"of another shape.*\n.*num_classes=4"):
        checkpoints.apply(target, network(4).state_dict())
    assert equal(before, target)  # nothing was loaded


def test_names_that_do_not_fit_are_counted_and_named():
    state = dict(network().state_dict())
    state["extra"] = state.pop("3.bias")
    with pytest.raises(InputError, match=r"missing: 3\.bias; unexpected: extra") as caught:
        checkpoints.apply(network(), state)
    assert "rename=by_order" in (caught.value.hint or "")
    with pytest.raises(
        InputError, match=r"missing: 0\.weight, .*, \.\.\. \(8 in total\).*\n.*another architecture"
    ):
        checkpoints.apply(network(), {"x": torch.zeros(1)})


URL = "https://nowhere.invalid/models/tiny-00000000.pth"


def test_a_file_in_the_hub_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "tiny-00000000.pth"
    path.parent.mkdir(parents=True)
    path.touch()
    assert checkpoints.hub_file(URL) == path


def test_without_a_network_the_error_says_where_the_file_belongs(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "tiny-00000000.pth"
    with pytest.raises(InputError) as caught:
        checkpoints.hub_file(URL)
    assert URL in str(caught.value)
    assert str(path) in str(caught.value)
    assert "checkpoint=" in str(caught.value)
    assert not path.exists()
