"""Tests the features of annotated data sets: each image encoded once, kept on disk, resumed."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_milan import COUNT, SIZE, colour_exemplars, tiny_encoder, write_exemplars

from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.training import dataset_features as module
from dissectbench.methods.milan.training.dataset import open_annotated
from dissectbench.methods.milan.training.dataset_features import dataset_features


@pytest.fixture
def annotated(tmp_path):
    return colour_exemplars(tmp_path / "data")


class Killed(BaseException):
    pass


@pytest.mark.numerics
def test_features_are_those_of_each_unit_alone_and_are_computed_once(annotated, tmp_path, monkeypatch):
    encoder = tiny_encoder()
    features = dataset_features([annotated], encoder, tmp_path)
    assert isinstance(features, np.memmap)
    for index in (0, 15, 16, 38):
        images, masks = annotated.exemplars(index)
        assert np.array_equal(features[index], encoder.encode(images[None], masks[None])[0])
    monkeypatch.setattr(module, "_encoded", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(dataset_features([annotated], encoder, tmp_path), features)
    monkeypatch.undo()
    assert not np.array_equal(dataset_features([annotated], tiny_encoder(1), tmp_path), features)


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_an_interrupted_computation_resumes_after_the_last_block(
    annotated, tmp_path, monkeypatch, blocks
):
    whole = dataset_features([annotated, annotated], tiny_encoder(), tmp_path / "whole")
    encoded, computed = module._encoded, []

    def killed(units, block, encoder):
        if len(computed) == blocks:
            raise Killed
        computed.append(block)
        return encoded(units, block, encoder)

    monkeypatch.setattr(module, "_encoded", killed)
    with pytest.raises(Killed):
        dataset_features([annotated, annotated], tiny_encoder(), tmp_path / "again")
    blocks = 99
    again = dataset_features([annotated, annotated], tiny_encoder(), tmp_path / "again")
    assert np.array_equal(again, whole)
    assert len(computed) == 8  # 117 images, 16 per block, none twice
    assert [p.suffix for p in (tmp_path / "again").iterdir()] == [".npy"]


class RecordingEncoder:
    """An encoder that records the images it encodes."""

    def __init__(self, encoder):
        self.encoder, self.encoded = encoder, []

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def encode_shared(self, images, masks):
        self.encoded += [image.tobytes() for image in images]
        return self.encoder.encode_shared(images, masks)


def shared_exemplars(folder, images, units):
    """Exemplars of units of two layers, drawn from a few images that both layers share."""
    rng = np.random.default_rng(1)
    for layer in ("conv1", "conv2"):
        ids = rng.integers(0, len(images), (units, COUNT))
        masks = rng.integers(0, 2, (units, COUNT, 1, SIZE, SIZE), np.uint8)
        write_exemplars(folder / layer, images[ids], masks, ids)
    rows = [f"{layer},{unit},things" for layer in ("conv1", "conv2") for unit in range(units)]
    (folder / "annotations.csv").write_text("\n".join(["layer,unit,summary", *rows]) + "\n")
    return open_annotated(folder, per_unit=1)


def wide_encoder():
    """As wide as real ones: vectors are bitwise equal, whatever they are computed together with."""
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PyramidEncoder(resnet18(), "resnet18")


def test_each_image_is_encoded_once_whatever_units_share_it(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 3, SIZE, SIZE), np.uint8)
    data = [shared_exemplars(tmp_path / name, images, 20) for name in "ab"]
    encoder: Any = RecordingEncoder(wide_encoder())
    features = dataset_features(data, encoder, tmp_path / "features")
    assert sorted(encoder.encoded) == sorted(image.tobytes() for image in images)
    for row, (part, index) in enumerate((part, index) for part in data for index in range(40)):
        exemplars, masks = part.exemplars(index)
        assert np.array_equal(features[row], encoder.encode(exemplars[None], masks[None])[0])


def test_equal_ids_may_mean_different_images_of_a_data_set(annotated, tmp_path):
    for layer, n in (("conv1", 21), ("conv2", 18)):
        folder = annotated.folders[layer].path
        np.savetxt(folder / "ids.csv", np.zeros((n, COUNT)), fmt="%d", delimiter=",")
    equal_ids = open_annotated(annotated.folders["conv1"].path.parent)
    assert np.array_equal(
        dataset_features([equal_ids], tiny_encoder(), tmp_path / "a"),
        dataset_features([annotated], tiny_encoder(), tmp_path / "b"),
    )


def test_an_image_with_more_masks_than_a_block_is_encoded_in_several_blocks(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE), np.uint8)
    data = [shared_exemplars(tmp_path / "data", images, 20)]
    whole = dataset_features(data, wide_encoder(), tmp_path / "whole")
    monkeypatch.setattr(module, "_MASKS", 7)
    assert np.array_equal(dataset_features(data, wide_encoder(), tmp_path / "blocks"), whole)
