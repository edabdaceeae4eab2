"""Tests the pass over the probing set: exact values, reuse of stored layers, resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dissectbench.datasets.image_folders import FlatFolder
from dissectbench.harness.activations import forward_pass
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import ArrayLayer
from dissectbench.harness.targets.layers import Taps
from dissectbench.harness.targets.target import Target

LAYERS = ["conv1", "layer2", "layer4", "fc"]
ARRAYS = ("mean.npy", "max.npy", "sizes.npy", "tail.npy")


# Values ------------------------------------------------------------------------------------------


def by_hand(target: Target, probe: FlatFolder) -> dict[str, np.ndarray]:
    """Returns the maps [images, units, h, w] of the layers, from forward passes of one image each."""
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in LAYERS}

    def keep(name: str) -> Any:
        # Cloned: a later in-place ReLU overwrites the output.
        return lambda _module, _inputs, output: outputs[name].append(output.clone())

    handles = [target.model.get_submodule(name).register_forward_hook(keep(name)) for name in LAYERS]
    with torch.no_grad():
        for index in range(len(probe)):
            target.model(target.preprocess(probe.image(index))[None])
    for handle in handles:
        handle.remove()
    return {name: torch.cat(tensors).numpy() for name, tensors in outputs.items()}


def test_values_and_thresholds_are_those_of_plain_forward_passes(
    image_folder: Path, resnet, tmp_path: Path, stored
):
    target, probe = resnet(), FlatFolder(image_folder)
    layers = stored(target, probe, tmp_path)
    assert list(layers) == LAYERS
    truths = by_hand(target, probe)
    for name, layer in layers.items():
        maps = truths[name].reshape(52, layer.n_units, *layer.map_shape)
        truth = ArrayLayer(maps, probe, Cache(tmp_path / "cache"), name=name)
        # Batches of one image take other kernels: float32 rounding over 18 layers.
        scale = np.abs(maps).max()
        assert layer.values.dtype == np.float32
        np.testing.assert_allclose(layer.values, truth.values, atol=1e-5 * scale)
        np.testing.assert_allclose(layer.maxima, truth.maxima, atol=1e-5 * scale)
        for q in (0.05, 0.01, 0.0005):
            for rule in ("linear", "kth"):
                np.testing.assert_allclose(
                    layer.threshold(q, rule), truth.threshold(q, rule), atol=1e-5 * scale
                )
        assert (layer.target, layer.name) == ("resnet18", name)
        assert truths[name].size == maps.size
        assert layer.kind == ("vector" if name == "fc" else "spatial")


@pytest.mark.numerics
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 0), (64, 2), (7, 2)])
def test_batch_size_and_workers_change_nothing(
    image_folder: Path, resnet, tmp_path: Path, batch_size: int, workers: int, stored, content
):
    probe = FlatFolder(image_folder)
    stored(resnet(), probe, tmp_path / "a")
    stored(resnet(), probe, tmp_path / "b", batch_size=batch_size, workers=workers)
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.numerics
def test_equal_images_have_equal_values_and_rank_by_index(
    image_folder: Path, resnet, tmp_path: Path, stored
):
    layer = stored(resnet(), FlatFolder(image_folder), tmp_path)["layer4"]
    np.testing.assert_array_equal(layer.values[:10], layer.values[30:40])
    np.testing.assert_array_equal(layer.values[17], layer.values[51])
    for unit in range(layer.n_units):
        ranked = layer.exemplars(unit, 52).indices.tolist()
        for first, second in [*((i, i + 30) for i in range(10)), (17, 51)]:
            assert ranked.index(second) > ranked.index(first)


@pytest.mark.numerics
def test_a_layer_has_the_same_values_alone_and_with_other_layers(
    image_folder: Path, resnet, tmp_path: Path, stored, content
):
    probe = FlatFolder(image_folder)
    stored(resnet(), probe, tmp_path / "together")
    for name in LAYERS:
        stored(resnet(), probe, tmp_path / "alone", [name])
    assert content(tmp_path / "together") == content(tmp_path / "alone")


@pytest.mark.numerics
def test_a_tail_beyond_the_memory_budget_is_the_same(
    image_folder: Path, resnet, tmp_path: Path, stored, content
):
    probe = FlatFolder(image_folder)
    stored(resnet(), probe, tmp_path / "a")
    stored(resnet(), probe, tmp_path / "b", tail_budget_gb=1e-3)
    assert content(tmp_path / "a") == content(tmp_path / "b")


# Reuse of stored layers ---------------------------------------------------------------------------


def test_every_image_is_decoded_once_and_only_for_missing_layers(
    counted, resnet, tmp_path: Path, stored, content
):
    stored(resnet(), counted, tmp_path, ["conv1", "layer4"])
    assert counted.decoded == list(range(52))
    stored(resnet(), counted, tmp_path, ["layer4", "conv1"])
    assert len(counted.decoded) == 52
    before = content(tmp_path)
    layers = stored(resnet(), counted, tmp_path, ["conv1", "fc"], quantile_tail=0.01)
    assert counted.decoded == list(range(52)) * 2
    assert list(layers) == ["conv1", "fc"]
    assert before.items() <= content(tmp_path).items()


def test_a_longer_tail_is_computed_and_a_shorter_one_is_reused(counted, resnet, tmp_path: Path, stored):
    layer = stored(resnet(), counted, tmp_path, ["fc"], quantile_tail=0.1)["fc"]
    with pytest.raises(InputError, match=r"activations\.quantile_tail=0\.3"):
        layer.threshold(0.3)
    layer = stored(resnet(), counted, tmp_path, ["fc"], quantile_tail=0.3)["fc"]
    layer.threshold(0.3)
    assert len(counted.decoded) == 104
    stored(resnet(), counted, tmp_path, ["fc"], quantile_tail=0.1)
    assert len(counted.decoded) == 104


@pytest.mark.parametrize("name", [*ARRAYS, "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_layer_is_detected_and_recomputed(
    image_folder: Path,
    resnet,
    tmp_path: Path,
    name: str,
    damage: str,
    caplog: pytest.LogCaptureFixture,
    stored,
    content,
):
    probe = FlatFolder(image_folder)
    stored(resnet(), probe, tmp_path, ["fc"])
    before = content(tmp_path)
    path = next(tmp_path.glob(f"*/{name}"))
    whole = path.read_bytes()
    middle = len(whole) // 2
    if damage == "cut":
        path.write_bytes(whole[:-1] if name != "manifest.json" else whole[:middle])
    elif damage == "flip" and name != "manifest.json":
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif damage == "flip":
        path.write_bytes(whole.replace(b'"images"', b'"imagos"'))
    else:
        path.unlink()
    stored(resnet(), probe, tmp_path, ["fc"])
    assert content(tmp_path) == before
    if not (name == "manifest.json" and damage == "gone"):
        assert f"{name} is damaged" in caplog.text


def test_other_images_are_stored_separately(copied: Path, resnet, tmp_path: Path, stored):
    first = stored(resnet(), FlatFolder(copied), tmp_path / "store", ["fc"])["fc"]
    Image.new("RGB", (64, 64), "red").save(copied / "020.jpg")
    second = stored(resnet(), FlatFolder(copied), tmp_path / "store", ["fc"])["fc"]
    assert first.fingerprint != second.fingerprint
    assert not np.array_equal(first.values[20], second.values[20])
    np.testing.assert_array_equal(np.delete(first.values, 20, 0), np.delete(second.values, 20, 0))


@pytest.fixture
def forwards(resnet):
    """A target, and a list of the number of images in each of its forward passes."""
    target, sizes = resnet(), []
    hook = target.model.register_forward_pre_hook(lambda _model, inputs: sizes.append(len(inputs[0])))
    yield target, sizes
    hook.remove()


def interrupt_at(number: int, patch: pytest.MonkeyPatch) -> None:
    """Raises KeyboardInterrupt when image `number` is read."""
    real = FlatFolder.image

    def image(self, index: int) -> Image.Image:
        if index == number:
            raise KeyboardInterrupt
        return real(self, index)

    patch.setattr(FlatFolder, "image", image)


BLANK, BLOCKS = [2], [16] * 4
"""Images per forward pass: of the pass that observes the network, and of those over 52 images."""


def test_the_network_is_observed_once(forwards, counted, tmp_path: Path, stored):
    target, sizes = forwards
    layer = stored(target, counted, tmp_path, ["layer2", "fc"])["layer2"]
    assert sizes == BLANK + BLOCKS
    sizes.clear()
    list(layer.maps([1, 2]))
    layer.respond([counted.image(0)])
    assert sizes == [16, 16]


def test_taps_that_have_observed_the_network_are_used(forwards, counted, tmp_path: Path, stored):
    target, sizes = forwards
    taps = Taps(target, ["layer2", "fc"])
    assert taps.info["fc"].n_units == 1000
    assert list(stored(target, counted, tmp_path, taps)) == ["layer2", "fc"]
    assert sizes == BLANK + BLOCKS


def test_layers_that_resume_at_different_images_share_one_observation(
    forwards, counted, tmp_path: Path, stored, small_shards, monkeypatch: pytest.MonkeyPatch
):
    target, sizes = forwards
    with monkeypatch.context() as patch:
        interrupt_at(40, patch)
        with pytest.raises(KeyboardInterrupt):
            stored(target, counted, tmp_path, ["fc"])
    sizes.clear()
    stored(target, counted, tmp_path, ["layer2", "fc"])
    assert sizes == BLANK + BLOCKS


def test_taps_of_another_target_are_refused(resnet, counted, tmp_path: Path, stored):
    with pytest.raises(ValueError, match="the taps are for resnet18"):
        stored(resnet(), counted, tmp_path, Taps(resnet(), ["fc"]))


def test_the_fingerprint_depends_on_the_pooling(counted, resnet, tmp_path: Path, stored):
    mean = stored(resnet(), counted, tmp_path, ["layer4"])["layer4"]
    maximum = stored(resnet(), counted, tmp_path, ["layer4"], pool="max")["layer4"]
    assert len(counted.decoded) == 52
    assert mean.fingerprint != maximum.fingerprint
    np.testing.assert_array_equal(maximum.values, mean.maxima)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_state_is_unchanged(
    image_folder: Path, resnet, tmp_path: Path, stored, workers: int
):
    before = torch.get_rng_state()
    layer = stored(resnet(), FlatFolder(image_folder), tmp_path, ["conv1"], workers=workers)["conv1"]
    list(layer.maps([1]))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_slow_pass_saves_its_state_by_time(
    counted, resnet, tmp_path: Path, stored, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(forward_pass, "SECONDS", 0.0)
        interrupt_at(40, patch)
        with pytest.raises(KeyboardInterrupt):
            stored(resnet(), counted, tmp_path, ["fc"])
    counted.decoded.clear()
    stored(resnet(), counted, tmp_path, ["fc"])
    assert counted.decoded == list(range(32, 52))
