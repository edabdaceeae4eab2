"""Layers are read as a forward pass written by hand gives them, whatever the network."""

import torch
from dissectbench.harness.layers import Taps
from dissectbench.harness.zoo import torchvision_model

SEED = 7


def pictures(n, size):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(SEED))


@torch.no_grad()
def test_resnet_layers_equal_the_forward_by_hand():
    target = torchvision_model("resnet18", weights=None, device="cpu")
    x, model = pictures(3, 64), target.model
    stem = model.conv1(x)
    one = model.layer1(model.maxpool(model.relu(model.bn1(stem.clone()))))
    four = model.layer4(model.layer3(model.layer2(one)))
    with Taps(target, ["layer4", "conv1", "layer1"]) as taps:
        got = taps.read(x)
    assert list(got) == ["layer4", "conv1", "layer1"]
    for name, expected in (("conv1", stem), ("layer1", one), ("layer4", four)):
        assert torch.equal(got[name], expected)
        assert got[name].dtype == torch.float32
