"""Tests the encoder against reference features and against its definition."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from dissectbench.harness.errors import InputError
from dissectbench.methods.milan.checkpoint_files import load_checkpoint
from dissectbench.methods.milan.encoder import MEAN, STD, PyramidEncoder


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet(BasicBlock, [1, 1, 1, 1])


@pytest.fixture(scope="module")
def exemplars():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (3, 4, 3, 64, 64), dtype=np.uint8)
    images[1, 0], images[2, 3] = images[0, 2], images[0, 2]
    ids = np.arange(12).reshape(3, 4)
    ids[1, 0] = ids[2, 3] = ids[0, 2]
    masks = np.zeros((3, 4, 1, 64, 64), np.uint8)
    for mask in masks.reshape(12, 64, 64):
        top, left = generator.integers(0, 40, 2)
        mask[top : top + 24, left : left + 20] = 1
    return images, masks, ids


def test_features_are_those_of_the_reference(shared):
    folder = shared / "golden" / "milan"
    exemplars, expected = np.load(folder / "exemplars.npz"), np.load(folder / "expected_resnet18.npz")
    encoder = load_checkpoint(folder / "milan_resnet18.pth").build_encoder()
    features = encoder.encode(exemplars["images"], exemplars["masks"], exemplars["ids"])
    np.testing.assert_allclose(features, expected["features"], atol=1e-4)
    assert not features[1, 13].any()  # its mask is empty
    assert not features[1, 12, 512:].any()  # its mask vanishes at the last level
    whole = encoder.encode(exemplars["images"][:1])[0]
    np.testing.assert_allclose(whole, expected["features_unit0_without_masks"], atol=1e-4)


@torch.no_grad()
def test_a_vector_is_the_mean_of_every_level_under_the_mask(network, exemplars):
    images, masks, _ = exemplars
    encoder = PyramidEncoder(network, "small")
    vector = encoder.encode(images, masks)[0, 0]
    levels = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: levels.update({name: output.double().numpy()[0].copy()})
        )
        for name in ("conv1", "layer1", "layer2", "layer3", "layer4")
    ]
    pixels = (images[0, 0] / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    network(torch.tensor(pixels[None], dtype=torch.float32))
    for hook in hooks:
        hook.remove()
    means = []
    for maps in levels.values():
        weights = resized(masks[0, 0, 0].astype(float), maps.shape[1])
        means.append((maps * weights).sum(axis=(1, 2)) / max(weights.sum(), 1e-12))
    np.testing.assert_allclose(vector, np.concatenate(means), atol=1e-4)


def resized(mask: np.ndarray, size: int) -> np.ndarray:
    """Resizes bilinearly with half-pixel centres, from the two pixels next to each cell's centre."""
    centre = (np.arange(size) + 0.5) * len(mask) / size - 0.5
    low = np.clip(np.floor(centre).astype(int), 0, len(mask) - 1)
    high, weight = np.minimum(low + 1, len(mask) - 1), np.clip(centre - low, 0, 1)
    rows = mask[low] * (1 - weight)[:, None] + mask[high] * weight[:, None]
    return rows[:, low] * (1 - weight) + rows[:, high] * weight


def test_without_masks_a_vector_is_the_mean_of_the_whole_maps(network, exemplars):
    images, masks, _ = exemplars
    encoder = PyramidEncoder(network, "small")
    np.testing.assert_allclose(
        encoder.encode(images), encoder.encode(images, np.ones_like(masks)), atol=1e-6
    )


@pytest.mark.numerics
def test_a_vector_does_not_depend_on_what_else_is_encoded(network, exemplars):
    images, masks, ids = exemplars
    encoder = PyramidEncoder(network, "small")
    together = encoder.encode(images, masks)
    assert np.array_equal(encoder.encode(images, masks, ids), together)
    for unit in range(3):
        for rank in range(4):
            here = np.s_[unit : unit + 1, rank : rank + 1]
            assert np.array_equal(encoder.encode(images[here], masks[here]), together[here])


def test_an_image_is_encoded_once_however_many_units_share_it(network, exemplars, monkeypatch):
    images, masks, _ = exemplars
    encoder = PyramidEncoder(network, "small")
    blocks = []
    maps = encoder.maps
    monkeypatch.setattr(encoder, "maps", lambda batch: blocks.append(len(batch)) or maps(batch))
    same = np.broadcast_to(images[:1, :1], (3, 4, 3, 64, 64))
    vectors = encoder.encode(same, masks, np.zeros((3, 4), np.int64), block=2)
    assert blocks == [2]
    assert np.array_equal(vectors, encoder.encode(same, masks, block=2))


def test_alexnets_levels_are_the_outputs_of_its_rectifiers():
    encoder = PyramidEncoder(models.alexnet(weights=None), "alexnet")
    assert encoder.size == 1152
    maps = encoder.maps(torch.rand(2, 3, 96, 96))
    assert [part.shape[1] for part in maps] == list(encoder.widths) == [64, 192, 384, 256, 256]
    assert all((part >= 0).all() for part in maps)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 1024), ("resnet50", 3904), ("resnet101", 3904)])
def test_a_named_network_has_no_weights(name, size):
    before = torch.get_rng_state()
    encoder = PyramidEncoder.named(name)
    assert encoder.size == size
    assert all(parameter.is_meta for parameter in encoder.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_name_is_an_error_with_the_nearest_names():
    with pytest.raises(InputError, match="resnet50"):
        PyramidEncoder.named("resnet_50")


def test_other_networks_are_rejected():
    with pytest.raises(InputError, match="ResNet or AlexNet"):
        PyramidEncoder(nn.Sequential(nn.Conv2d(3, 8, 3)), "mine")
