"""A trained network on photographs, given by a factory function as a user would give it."""

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import rounding
from torch.nn import functional

from dissectbench.datasets.image_folders import ImageFolder
from dissectbench.harness.activations.forward_pass import probe_layers
from dissectbench.harness.cache import Cache
from dissectbench.harness.targets.factory import from_factory
from dissectbench.methods.network_dissection.network_dissection import NetworkDissection

LAYERS = ["conv1", "layer1", "layer2", "layer3", "linear"]


@pytest.fixture(scope="module")
def target(shared, repository):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "tests" / "networks"))
        target = from_factory(
            "cifar_resnet20:build",
            name="resnet20-cifar10",
            weights=str(shared / "real" / "cifar10" / "resnet20.safetensors"),
            device="cpu",
            example_size=(32, 32),
        )
        assert target.model is not None
        yield target


@pytest.fixture(scope="module")
def photographs(shared):
    return ImageFolder(shared / "real" / "cifar10" / "images", annotations=["classes", "colours"])


@pytest.fixture(scope="module")
def layers(target, photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar")
    return probe_layers(
        target, photographs, LAYERS, store=folder / "store", cache=Cache(folder / "cache")
    )


def maps_by_hand(target, image):
    """The map of every layer for one photograph, by an explicit forward pass."""
    pixels = np.asarray(image, np.float32) / 255
    x = torch.from_numpy((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).permute(2, 0, 1)[None]
    x, state, maps = x.float(), target.model.state_dict(), {}

    def normalised(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return functional.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    maps["conv1"] = functional.conv2d(x, state["conv1.weight"], padding=1)
    x = normalised(maps["conv1"], "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = normalised(y, f"{name}.bn1").clamp(min=0)
            y = normalised(functional.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            short = x[:, :, ::stride, ::stride]
            new = (y.shape[1] - short.shape[1]) // 2
            x = (y + functional.pad(short, (0, 0, 0, 0, new, new))).clamp(min=0)
        maps[f"layer{stage}"] = x
    maps["linear"] = (x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"])[:, :, None, None]
    return {name: value[0].numpy() for name, value in maps.items()}


def test_activations_equal_an_explicit_forward_pass(target, photographs, layers):
    for index in (0, 417, 999):
        with torch.inference_mode():
            expected = maps_by_hand(target, photographs.image(index))
        for name, layer in layers.items():
            # 576 products in the widest of 20 layers.
            tolerance = rounding(terms=576, depth=20, largest=np.abs(expected[name]).max())
            values, (batch,) = layer.values[index], layer.maps([index])
            np.testing.assert_allclose(values, expected[name].mean((1, 2)), rtol=0, atol=tolerance)
            np.testing.assert_allclose(batch.maps[0], expected[name], rtol=0, atol=tolerance)


def test_the_network_has_its_published_accuracy(photographs, layers):
    correct = (layers["linear"].values.argmax(1) == photographs.labels).sum()
    # One image may change: rounding differs between machines.
    assert abs(int(correct) - 826) <= 1


def test_network_dissection_describes_each_output_unit_by_its_class(photographs, layers):
    descriptions = list(NetworkDissection().describe(layers["linear"], range(10)))
    assert [description.text for description in descriptions] == list(photographs.classes)


def test_respond_equals_the_values_of_the_probing_set(photographs, layers):
    images = [photographs.image(index) for index in (3, 500)]
    assert all(isinstance(image, Image.Image) for image in images)
    for layer in layers.values():
        np.testing.assert_array_equal(layer.respond(images), layer.values[[3, 500]])
