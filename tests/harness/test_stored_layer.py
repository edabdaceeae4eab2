"""Tests stored layers: maps, responses to new images, exemplars, thresholds, regions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dissectbench.datasets.image_folders import FlatFolder
from dissectbench.harness.activations.stored_layer import StoredLayer
from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError, UnreadableImageError
from dissectbench.harness.probe import ArrayLayer, MapBatch, ProbedLayer


@pytest.fixture(scope="module")
def layers(image_folder: Path, resnet, stored, tmp_path_factory) -> dict[str, StoredLayer]:
    return stored(resnet(), FlatFolder(image_folder), tmp_path_factory.mktemp("store"))


def joined(batches: Iterator[MapBatch]) -> tuple[list[int], np.ndarray]:
    parts = list(batches)
    return np.concatenate([part.indices for part in parts]).tolist(), np.concatenate(
        [part.maps for part in parts]
    )


@pytest.mark.parametrize("name", ["layer2", "fc"])
def test_maps_pool_to_the_stored_values(layers, name: str):
    layer = layers[name]
    indices, maps = joined(layer.maps())
    assert indices == list(range(52))
    assert maps.shape == (52, layer.n_units, *layer.map_shape)
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps.max(axis=(2, 3)), layer.maxima)
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), layer.values, rtol=1e-4, atol=1e-6)
    truth = ArrayLayer(maps, layer.probe, layer.cache)
    for q in (0.05, 0.013):
        np.testing.assert_allclose(layer.threshold(q), truth.threshold(q), rtol=1e-12)


@pytest.mark.numerics
def test_maps_of_selected_images_are_in_their_order_with_the_same_bits(layers):
    layer = layers["layer4"]
    _, everything = joined(layer.maps())
    selected = [40, 3, 3, 51, *range(20, 0, -1)]
    indices, maps = joined(layer.maps(selected))
    assert indices == selected
    np.testing.assert_array_equal(maps, everything[selected])
    assert list(layer.maps([])) == []


@pytest.mark.parametrize("images", [[52], [-1], [0, 99]])
def test_image_indices_out_of_range_are_refused(layers, images: list[int]):
    with pytest.raises(IndexError):
        next(layers["fc"].maps(images))


def test_maps_of_several_layers_may_be_read_in_turns(layers):
    early, late = layers["conv1"], layers["layer4"]
    alone = [joined(early.maps())[1], joined(late.maps())[1]]
    both = list(zip(early.maps(), late.maps(), strict=True))
    np.testing.assert_array_equal(np.concatenate([first.maps for first, _ in both]), alone[0])
    np.testing.assert_array_equal(np.concatenate([second.maps for _, second in both]), alone[1])


def test_an_image_removed_since_the_pass_is_named(image_folder: Path, resnet, stored, tmp_path: Path):
    for path in sorted(image_folder.glob("*.jpg"))[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    layer = stored(resnet(), FlatFolder(tmp_path), tmp_path / "store", ["layer4"])["layer4"]
    (tmp_path / "001.jpg").unlink()
    with pytest.raises(UnreadableImageError, match=r"001\.jpg"):
        list(layer.maps())


@pytest.mark.numerics
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_responses_to_new_images_equal_the_values_of_the_pass(
    image_folder: Path, resnet, stored, layers, tmp_path: Path, pool: str
):
    layer = stored(resnet(), FlatFolder(image_folder), tmp_path, ["layer4"], pool=pool)["layer4"]
    images = [layer.probe.image(index) for index in (5, 50, 11)]
    responses = layer.respond(images)
    np.testing.assert_array_equal(responses, layer.values[[5, 50, 11]])
    np.testing.assert_array_equal(layer.respond(images[1:]), responses[1:])
    several_blocks = layer.respond(images * 9)
    np.testing.assert_array_equal(several_blocks, np.tile(responses, (9, 1)))
    grey = images[0].convert("L")
    np.testing.assert_array_equal(layer.respond([grey]), layer.respond([grey.convert("RGB")]))
    assert layer.respond([]).shape == (0, layer.n_units)


def test_the_region_depends_on_the_size_of_the_image(layers, resnet):
    layer, target = layers["fc"], resnet()
    for index, size in enumerate([(80, 64), (64, 64), (64, 96)]):
        assert layer.region(index) == target.region(size)
    assert layer.region(0).left > 0
    assert layer.region(1).left == 0


def test_the_region_does_not_decode_the_image(counted, resnet, stored, tmp_path: Path):
    layer = stored(resnet(), counted, tmp_path, ["fc"])["fc"]
    counted.decoded.clear()
    layer.region(7)
    assert counted.decoded == []


class Columns:
    """The part of a stored layer that `exemplars` needs, made from an array."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.n_units = values.shape[1]
        self.dead = values.max(axis=0) == values.min(axis=0)

    def _columns(self, block: int) -> np.ndarray:
        return StoredLayer._read_columns(self, block)  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_exemplars_equal_a_stable_sort(data: st.DataObject):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    images, units = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 70))
    values = rng.integers(-2, data.draw(st.integers(-1, 50)), (images, units)).astype(np.float32)
    layer: Any = Columns(values)
    unit, k = data.draw(st.integers(0, units - 1)), data.draw(st.integers(0, 50))
    exemplars, truth = StoredLayer.exemplars(layer, unit, k), ProbedLayer.exemplars(layer, unit, k)
    assert exemplars.indices.tolist() == truth.indices.tolist()
    assert exemplars.indices.dtype == np.int64
    np.testing.assert_array_equal(exemplars.values, truth.values)
    assert exemplars.dead == truth.dead


@pytest.mark.parametrize("q", [0.0, -0.1, 1.5, 0.2])
def test_a_quantile_that_cannot_be_computed_is_refused(layers, q: float):
    with pytest.raises(InputError, match=f"q={q}"):
        layers["conv1"].threshold(q)


# Stored maps --------------------------------------------------------------------------------------


def test_stored_maps_are_computed_maps_rounded_to_half_precision(
    counted, resnet, stored, layers, tmp_path: Path
):
    kept = stored(resnet(), counted, tmp_path, keep_maps="float16")
    counted.decoded.clear()
    for name, layer in kept.items():
        assert layer.manifest.maps == "kept"
        _, maps = joined(layer.maps([30, 2, 51]))
        _, truth = joined(layers[name].maps([30, 2, 51]))
        np.testing.assert_array_equal(maps, truth.astype(np.float16).astype(np.float32))
        assert layer.fingerprint != layers[name].fingerprint  # derived results depend on the precision
    assert counted.decoded == []


def test_maps_beyond_the_budget_are_recomputed_with_a_warning(
    counted, resnet, stored, layers, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    conv1, fc = layers["conv1"], layers["fc"]
    gigabytes = (2 * 52 * 1000 + 2 * 52 * 128 * 36) / 1e9  # fc and layer2
    kept = stored(
        resnet(),
        counted,
        tmp_path,
        ["fc", "conv1", "layer2"],
        keep_maps="float16",
        map_budget_gb=gigabytes,
    )
    assert [layer.manifest.maps for layer in kept.values()] == ["kept", "over_budget", "kept"]
    assert caplog.text.count("conv1: its feature maps are over the budget") == 1
    counted.decoded.clear()
    np.testing.assert_array_equal(joined(kept["conv1"].maps([7]))[1], joined(conv1.maps([7]))[1])
    assert counted.decoded == [7]
    np.testing.assert_allclose(joined(kept["fc"].maps([7]))[1], joined(fc.maps([7]))[1], rtol=1e-3)


class HugeInputs:
    """Makes inputs for which the maps of some images overflow float16."""

    def __call__(self, image: Image.Image) -> Any:
        import torch

        return torch.full((3, 48, 48), 1e6 if image.size == (64, 96) else 1.0)


def test_maps_that_overflow_half_precision_are_recomputed_and_this_is_recorded(
    counted, resnet, stored, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    from dissectbench.harness.targets.target import Target

    target = Target.of(resnet().model, HugeInputs(), name="huge", device="cpu", example_size=(48, 48))
    layer = stored(target, counted, tmp_path, ["conv1"], keep_maps="float16")["conv1"]
    assert "conv1: its values overflow float16" in caplog.text
    manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
    assert manifest["maps"] == "overflow"
    assert not list(tmp_path.glob("*/maps.npy"))
    assert joined(layer.maps([2]))[1].max() > 65504
    counted.decoded.clear()
    stored(target, counted, tmp_path, ["conv1"], keep_maps="float16")
    assert counted.decoded == []


def test_maps_requested_later_are_stored_then(counted, resnet, stored, tmp_path: Path):
    first = stored(resnet(), counted, tmp_path, ["fc"])["fc"]
    assert first.manifest.maps == "not_requested"
    second = stored(resnet(), counted, tmp_path, ["fc"], keep_maps="float16")["fc"]
    assert second.manifest.maps == "kept"
    counted.decoded.clear()
    third = stored(resnet(), counted, tmp_path, ["fc"])["fc"]
    assert counted.decoded == []
    assert third.fingerprint == first.fingerprint != second.fingerprint


def test_maps_stored_by_another_run_are_used_only_on_request(counted, resnet, stored, tmp_path: Path):
    stored(resnet(), counted, tmp_path, ["conv1"], keep_maps="float16")
    again = stored(resnet(), counted, tmp_path, ["conv1"])["conv1"]
    exact = stored(resnet(), counted, tmp_path / "elsewhere", ["conv1"])["conv1"]
    assert again.fingerprint == exact.fingerprint
    np.testing.assert_array_equal(joined(again.maps([3]))[1], joined(exact.maps([3]))[1])


def test_the_cache_is_the_given_one(image_folder: Path, resnet, stored, tmp_path: Path):
    layer = stored(resnet(), FlatFolder(image_folder), tmp_path, ["fc"])["fc"]
    assert isinstance(layer.cache, Cache)
    assert layer.cache.root == tmp_path / "cache"
