"""Reading layers of many architectures, compared with forward passes written by hand."""

import time
from collections import Counter
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn
from torchvision.transforms import ToTensor

from dissectbench.harness.errors import InputError
from dissectbench.harness.targets.layers import LayerSpec, Taps, list_layers
from dissectbench.harness.targets.target import Target


def example_inputs(n, size, width=None):
    return torch.randn(n, 3, size, width or size, generator=torch.Generator().manual_seed(7))


def wrapped(model: nn.Module, size: int, width: int | None = None) -> Target:
    """Returns the target of a network; its example input is `size` pixels high."""
    return Target.of(model, ToTensor(), name="test", device="cpu", example_size=(width or size, size))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def by_hand(size, model, steps, batch=2):
    """Runs named steps in order; returns {layer: output} for a batch."""
    x, outputs = example_inputs(batch, size), {}
    for name, step in steps(model.eval()):
        x = step(x)
        outputs[name] = x.clone()
    return outputs


# Architectures -----------------------------------------------------------------------------------


def resnet_steps(m: Any):
    yield "conv1", m.conv1
    yield "layer1", lambda x: m.layer1(m.maxpool(m.relu(m.bn1(x))))
    yield "layer2", m.layer2
    yield "layer4", lambda x: m.layer4(m.layer3(x))
    yield "avgpool", m.avgpool
    yield "fc", lambda x: m.fc(x.flatten(1))


def vgg_steps(m: Any):
    for i in range(5):  # conv, in-place ReLU, conv, in-place ReLU, pooling
        yield f"features.{i}", m.features[i]
    yield "features", m.features[5:]
    yield "classifier.0", lambda x: m.classifier[0](m.avgpool(x).flatten(1))
    yield "classifier.1", m.classifier[1]
    yield "classifier", m.classifier[2:]


def densenet_steps(m: Any):
    yield "features.conv0", m.features.conv0
    yield "features.norm0", m.features.norm0
    yield "features.denseblock1", lambda x: m.features.denseblock1(m.features.pool0(x.relu()))
    yield "features.transition1", m.features.transition1
    yield "features.norm5", m.features[6:]
    yield "classifier", lambda x: m.classifier(x.relu().mean((2, 3)))


def convnext_steps(m: Any):
    yield "features.0", m.features[0]
    yield "features.1", m.features[1]
    yield "features.7", m.features[2:]
    yield "classifier", lambda x: m.classifier(m.avgpool(x))


def mlp_steps(m: Any):
    for i in range(len(m)):
        yield str(i), m[i]


def vgg(batch_norm):
    with torch.device("meta"):  # the original classifier has 120 million weights
        model: Any = torchvision.models.VGG(nn.Identity(), init_weights=False)
    model.features = torchvision.models.vgg.make_layers([16, 16, "M", 32, 32], batch_norm)
    for i, (inputs, outputs) in {0: (32 * 49, 20), 3: (20, 20), 6: (20, 9)}.items():
        model.classifier[i] = nn.Linear(inputs, outputs)
    return model


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 20), nn.ReLU(inplace=True), nn.Linear(20, 5))


NETWORKS = {
    "resnet": (lambda: torchvision.models.resnet18(), 64, resnet_steps),
    "vgg": (lambda: vgg(batch_norm=False), 32, vgg_steps),
    "vgg_bn": (lambda: vgg(batch_norm=True), 32, vgg_steps),
    "densenet": (lambda: torchvision.models.densenet121(), 64, densenet_steps),
    "convnext": (lambda: torchvision.models.convnext_tiny(), 64, convnext_steps),
    "mlp": (mlp, 8, mlp_steps),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_equal_the_forward_by_hand(network):
    build, size, steps = NETWORKS[network]
    model = build()
    expected = by_hand(size, model, steps)
    with Taps(wrapped(model, size), list(expected)) as taps:
        got = taps.read(example_inputs(2, size))
    assert list(got) == list(taps.info) == list(expected)
    for name, value in expected.items():
        maps = value if value.ndim == 4 else value[:, :, None, None]
        assert torch.equal(got[name], maps), name
        info = taps.info[name]
        assert (info.n_units, info.map_shape) == (maps.shape[1], tuple(maps.shape[2:]))
        assert info.kind == ("spatial" if value.ndim == 4 else "vector")


@pytest.mark.parametrize("network", ["resnet", "vgg", "densenet"])
def test_several_layers_in_one_pass_equal_one_by_one(network):
    build, size, steps = NETWORKS[network]
    model = build()
    target, x = wrapped(model, size), example_inputs(2, size)
    names = [name for name, _ in steps(model)]
    with Taps(target, names) as taps:
        together = taps.read(x)
    for name in names:
        with Taps(target, [name]) as taps:
            assert torch.equal(taps.read(x)[name], together[name]), name


def test_swin_blocks_are_read_with_their_units_last():
    model: Any = torchvision.models.swin_t().eval()
    x = example_inputs(2, 64)
    patches = model.features[0](x)
    first = model.features[1](patches)
    last = model.norm(model.features[2:](first))
    with Taps(wrapped(model, 64), ["features.0", "features.1", "norm", "permute"]) as taps:
        got = taps.read(x)
    for name, expected in (("features.0", patches), ("features.1", first), ("norm", last)):
        assert torch.equal(got[name], expected.permute(0, 3, 1, 2))
        assert taps.info[name].layout == "nhwc"
    assert torch.equal(got["permute"], last.permute(0, 3, 1, 2))
    assert taps.info["permute"].layout == "nchw"


def test_convnext_blocks_are_read_with_their_units_last_inside():
    model: Any = torchvision.models.convnext_tiny().eval()
    x = example_inputs(2, 64)
    inner = model.features[1][0].block[:4](model.features[0](x))  # dwconv, permute, norm, linear
    with Taps(wrapped(model, 64), ["features.1.0.block.3"]) as taps:
        got = taps.read(x)["features.1.0.block.3"]
    assert torch.equal(got, inner.permute(0, 3, 1, 2))
    assert taps.info["features.1.0.block.3"].n_units == 384


# Tokens ------------------------------------------------------------------------------------------


def small_vit() -> Any:
    vit = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=48
    )
    return vit.eval()


def vit_tokens(model: Any, x):
    """[B, 17, 24] after the second block."""
    x = torch.cat([model.class_token.expand(len(x), -1, -1), model._process_input(x)], 1)
    x = x + model.encoder.pos_embedding
    return model.encoder.layers[1](model.encoder.layers[0](x))


@pytest.mark.parametrize("tokens", [None, "class", "mean", "grid"])
def test_vit_tokens_are_read_as_requested(tokens):
    model, x = small_vit(), example_inputs(2, 32)
    hidden = vit_tokens(model, x)
    spec = LayerSpec("encoder.layers.encoder_layer_1", tokens=tokens)
    with Taps(wrapped(model, 32), [spec]) as taps:
        got = taps.read(x)[spec.name]
    expected = {
        "class": hidden[:, 0, :, None, None],
        "mean": hidden[:, 1:].mean(1)[:, :, None, None],
        "grid": hidden[:, 1:].transpose(1, 2).reshape(2, 24, 4, 4),
    }[tokens or "class"]
    assert torch.equal(got, expected)
    info = taps.info[spec.name]
    assert (info.kind, info.tokens, info.prefix_tokens) == ("tokens", tokens or "class", 1)
    assert info.map_shape == tuple(expected.shape[2:])


def test_the_first_tensor_of_a_tuple_is_read():
    model, x = small_vit(), example_inputs(2, 32)
    inputs: Any = torch.cat([model.class_token.expand(2, -1, -1), model._process_input(x)], 1)
    normed = model.encoder.layers[0].ln_1(inputs + model.encoder.pos_embedding)
    expected = model.encoder.layers[0].self_attention(normed, normed, normed, need_weights=False)[0]
    name = "encoder.layers.encoder_layer_0.self_attention"
    with Taps(wrapped(model, 32), [{"name": name, "tokens": "grid"}]) as taps:
        got = taps.read(x)[name]
    assert torch.equal(got, expected[:, 1:].transpose(1, 2).reshape(2, 24, 4, 4))
    assert taps.info[name].part == "[0]"


@pytest.mark.parametrize(("class_token", "registers"), [(True, 0), (True, 4), (False, 4), (False, 0)])
def test_register_tokens_of_timm_are_left_out_of_the_grid(class_token, registers):
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=2,
        class_token=class_token,
        reg_tokens=registers,
        global_pool="avg",
    ).eval()
    x, target = example_inputs(2, 32), wrapped(model, 32)
    prefix = class_token + registers
    hidden = model.blocks(model.norm_pre(model._pos_embed(model.patch_embed(x))))
    with Taps(target, [LayerSpec("blocks.1", tokens="grid")]) as taps:
        got = taps.read(x)["blocks.1"]
    assert torch.equal(got, hidden[:, prefix:].transpose(1, 2).reshape(2, 24, 4, 4))
    assert taps.info["blocks.1"].prefix_tokens == prefix
    if class_token:
        with Taps(target, ["blocks.1"]) as taps:
            assert torch.equal(taps.read(x)["blocks.1"][:, :, 0, 0], hidden[:, 0])
    else:  # a register is not a class token
        with pytest.raises(InputError, match="no class token is known"), Taps(target, ["blocks.1"]):
            pass


@pytest.mark.parametrize("kind", ["vit", "dinov2_with_registers", "swin"])
def test_hugging_face_layers_and_outputs(kind):
    size: Any = {"image_size": 32, "patch_size": 8, "hidden_size": 24}
    depth: Any = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config, prefix, layer = {
        "vit": lambda: (transformers.ViTConfig(**size, **depth), 1, "layernorm"),
        "dinov2_with_registers": lambda: (
            transformers.Dinov2WithRegistersConfig(**size, **depth, num_register_tokens=4),
            5,
            "layernorm",
        ),
        "swin": lambda: (
            transformers.SwinConfig(
                image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4
            ),
            0,
            "layernorm",
        ),
    }[kind]()
    model = transformers.AutoModel.from_config(config).eval()
    x = example_inputs(2, 32)
    hidden = model(x).last_hidden_state
    with Taps(
        wrapped(model, 32), [LayerSpec(layer, tokens="grid"), LayerSpec("embeddings", "mean")]
    ) as taps:
        got = taps.read(x)[layer]
    assert torch.equal(got, hidden[:, prefix:].transpose(1, 2).reshape(2, -1, 4, 4))
    assert taps.info["embeddings"].part == ("[0]" if kind == "swin" else "")


def test_the_first_tensor_of_an_output_dataclass_is_read():
    outer: Any = nn.Sequential()
    outer.add_module(
        "vit",
        transformers.ViTModel(
            transformers.ViTConfig(
                image_size=32,
                patch_size=8,
                hidden_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
            )
        ),
    )
    x = example_inputs(2, 32)
    with Taps(wrapped(outer, 32), ["vit"]) as taps:
        got = taps.read(x)["vit"]
    assert torch.equal(got[:, :, 0, 0], outer(x).last_hidden_state[:, 0])
    assert taps.info["vit"].part == ".last_hidden_state"


def test_numbers_are_names_of_layers():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 5, 3)))
    taps = Taps(wrapped(net, 8), [0, {"name": 1}])
    assert {name: info.n_units for name, info in taps.info.items()} == {"0": 4, "1": 5}
    assert list(Taps(wrapped(net, 8), ["1.0"]).info) == ["1.0"]


@pytest.mark.parametrize("layer", [1.1, {"name": 1.1}])
def test_a_name_that_yaml_reads_as_a_decimal_number_must_be_quoted(layer):
    # 1.1 may have been written as 1.10.
    with pytest.raises(InputError, match=r"the layer 1\.1 is read as a number.*\n.*layers=\['1\.1'\]"):
        LayerSpec.of(layer)


@pytest.mark.parametrize("layer", [True, {"name": True}, None, ["fc"]])
def test_other_values_are_not_names_of_layers(layer):
    with pytest.raises(InputError, match=r"needs a name|cannot read the layer"):
        LayerSpec.of(layer)


class Patches(nn.Module):
    """A network without a class token: its tokens [B, T, 6] are the pixel values in order."""

    def __init__(self, count, batch_first=True):
        super().__init__()
        self.count, self.batch_first = count, batch_first
        self.tokens = nn.Identity()

    def forward(self, x):
        tokens = x.flatten(1)[:, : self.count * 6].reshape(len(x), self.count, 6)
        return self.tokens(tokens if self.batch_first else tokens.transpose(0, 1))


def test_ambiguous_tokens_are_an_error_that_names_the_setting():
    with (
        pytest.raises(InputError, match="tokens=mean, tokens=grid or tokens=class"),
        Taps(wrapped(Patches(16), 8), ["tokens"]),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"not known which of its 15 tokens.*\n.*prefix_tokens="),
        Taps(wrapped(Patches(15), 8), [LayerSpec("tokens", tokens="mean")]),
    ):
        pass
    with (
        pytest.raises(InputError, match="do not make a grid of 4 x 4"),
        Taps(wrapped(Patches(15), 8), [LayerSpec("tokens", "grid", grid=(4, 4), prefix_tokens=0)]),
    ):
        pass
    with (
        pytest.raises(InputError, match="no class token"),
        Taps(wrapped(Patches(16), 8), [LayerSpec("tokens", tokens="class", prefix_tokens=0)]),
    ):
        pass


def test_a_grid_that_is_not_square_can_be_given():
    x = example_inputs(2, 8)
    with Taps(wrapped(Patches(16), 8), [LayerSpec("tokens", "grid", grid=(3, 5))]) as taps:
        got = taps.read(x)["tokens"]
    assert torch.equal(got[1, :, 2, 4], x[1].flatten()[15 * 6 : 16 * 6])  # one prefix token, then 3 x 5
    assert taps.info["tokens"].prefix_tokens == 1


def test_a_square_number_of_tokens_of_a_wide_image_is_not_taken_for_a_square_grid():
    # For 16 tokens of an image twice as wide as high, 4 x 4 would be silently wrong.
    with (
        pytest.raises(InputError, match="not known which of its 16 tokens are patches"),
        Taps(wrapped(Patches(16), 8, 16), [LayerSpec("tokens", tokens="grid")]),
    ):
        pass


def test_a_layer_that_mixes_images_is_refused():
    with (
        pytest.raises(InputError, match="mixes images"),
        Taps(wrapped(Patches(4, batch_first=False), 8), [LayerSpec("tokens", tokens="mean")]),
    ):
        pass


# Layout ------------------------------------------------------------------------------------------


class Cube(nn.Module):
    """A layer with outputs [B, 8, 8, 8] for images of 8 x 8."""

    def __init__(self, last, size=None):
        super().__init__()
        self.conv, self.maps, self.last, self.size = nn.Conv2d(3, 8, 1), nn.Identity(), last, size

    def forward(self, x):
        assert self.size in (None, x.shape[-1])
        x = self.conv(x)
        return self.maps(x.permute(0, 2, 3, 1) if self.last else x).flatten(1)


def test_an_output_with_three_equal_sides_needs_its_layout():
    model = Cube(last=False, size=8)
    target, x = wrapped(model, 8), example_inputs(2, 8)
    with pytest.raises(InputError, match="layout=nchw"), Taps(target, ["maps"]):
        pass
    with Taps(target, [{"name": "maps", "layout": "nhwc"}]) as taps:
        assert torch.equal(taps.read(x)["maps"], model.conv(x).permute(0, 3, 1, 2))
    with Taps(target, [{"name": "maps", "layout": "nchw"}]) as taps:
        assert torch.equal(taps.read(x)["maps"], model.conv(x))


@pytest.mark.parametrize("last", [False, True])
def test_three_equal_sides_are_resolved_by_a_wider_image_if_the_network_accepts_it(last):
    model = Cube(last)
    x = example_inputs(2, 8)
    with Taps(wrapped(model, 8), ["maps"]) as taps:
        assert torch.equal(taps.read(x)["maps"], model.conv(x))
    assert taps.info["maps"].layout == ("nhwc" if last else "nchw")


@pytest.mark.parametrize("last", [False, True])
def test_layouts_of_wide_images_are_recognised_by_the_aspect_ratio(last):
    class Layout(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1) if last else x

    model = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), Layout())
    x = example_inputs(2, 13, 24)
    with Taps(wrapped(model, 13, 24), ["1"]) as taps:
        assert torch.equal(taps.read(x)["1"], model[0](x))
    assert taps.info["1"].map_shape == (7, 12)


# Hooks -------------------------------------------------------------------------------------------


def count_calls(model):
    calls: Counter[str] = Counter()
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda _m, _x, name=name: calls.update([name]))
    return calls


def test_the_forward_stops_after_the_deepest_layer_by_order_of_execution():
    class Backwards(nn.Module):  # its modules run in another order than they are defined
        def __init__(self):
            super().__init__()
            self.last, self.middle, self.first = nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(192, 4)

        def forward(self, x):
            return self.last(self.middle(self.first(x.flatten(1))))

    model = Backwards()
    with Taps(wrapped(model, 8), ["middle", "first"]) as taps:
        calls = count_calls(model)
        taps.read(example_inputs(2, 8))
    assert calls == {"": 1, "first": 1, "middle": 1}


def test_stopping_early_saves_the_time_of_later_layers():
    class Slow(nn.Module):
        def forward(self, x):
            time.sleep(0.5)
            return x

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Slow())
    with Taps(wrapped(model, 8), ["0"]) as taps:
        start = time.monotonic()
        taps.read(example_inputs(2, 8))
        assert time.monotonic() - start < 0.4


def test_a_network_that_catches_every_exception_still_stops():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)

        def forward(self, x):
            try:
                x = self.one(x)
            except Exception:
                return self.two(torch.zeros(1, 4, 8, 8))
            return self.two(x)

    model = Careful()
    with Taps(wrapped(model, 8), ["one"]) as taps:
        calls = count_calls(model)
        taps.read(example_inputs(1, 8))
    assert "two" not in calls


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_no_hook_remains():
    model = Cube(last=False, size=8)
    target = wrapped(model, 8)
    with pytest.raises(InputError), Taps(target, ["maps"]):  # ambiguous: fails on entry
        pass
    assert hooks(model) == 0
    with Taps(target, [LayerSpec("maps", layout="nchw")]):
        assert hooks(model) == 1
    assert hooks(model) == 0
    with pytest.raises(RuntimeError), Taps(target, [LayerSpec("maps", layout="nchw")]) as taps:
        taps.read(torch.zeros(1, 5, 8, 8))  # five channels
    assert hooks(model) == 0
    list_layers(target)
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="inside their `with`"):
        taps.read(example_inputs(1, 8))


def test_a_network_that_fails_on_its_own_input_is_explained():
    target = wrapped(mlp(), 16)
    with pytest.raises(InputError, match=r"does not accept a batch of shape \[2, 3, 16, 16\]"):
        list_layers(target)


def test_in_place_operations_that_the_example_does_not_reach_are_detected():
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.end = nn.Identity()

        def forward(self, x):
            y = self.conv(x)
            if x.min() < 0:  # not for the grey example image
                y.zero_()
            return self.end(y)

    model = Conditional()
    x = example_inputs(2, 8)
    with Taps(wrapped(model, 8), ["conv", "end"]) as taps:
        got = taps.read(x)
    assert torch.equal(got["conv"], model.conv(x))
    assert not got["end"].any()


def test_only_overwritten_outputs_are_copied():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 1), nn.ReLU())
    seen = {}
    model[0].register_forward_hook(lambda _m, _x, y: seen.update(zero=y.data_ptr()))
    model[2].register_forward_hook(lambda _m, _x, y: seen.update(two=y.data_ptr()))
    with Taps(wrapped(model, 8), ["0", "2", "3"]) as taps:
        got = taps.read(example_inputs(2, 8))
    assert got["0"].data_ptr() != seen["zero"]
    assert got["2"].data_ptr() == seen["two"]


def test_networks_in_inference_mode_are_read_correctly():
    class Inference(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.relu = nn.ReLU(inplace=True)

        @torch.inference_mode()
        def forward(self, x):
            return self.relu(self.conv(x))

    model = Inference()
    x = example_inputs(2, 8)
    with Taps(wrapped(model, 8), ["conv", "relu"]) as taps:
        got = taps.read(x)
    assert torch.equal(got["conv"], model.conv(x))
    assert torch.equal(got["relu"], model.conv(x).relu())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_every_number_type_becomes_float32(dtype):
    class Cast(nn.Module):
        def forward(self, x):
            return (x * 10).to(dtype)

    model = nn.Sequential(Cast())
    x = example_inputs(2, 8)
    with Taps(wrapped(model, 8), ["0"]) as taps:
        got = taps.read(x)["0"]
    assert got.dtype == torch.float32
    assert torch.equal(got, (x * 10).to(dtype).float())


def test_reading_does_not_depend_on_the_example():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    x = example_inputs(3, 20)
    with Taps(wrapped(model, 8), ["0"], example=x[:1]) as taps:
        assert taps.info["0"].map_shape == (18, 18)
        assert torch.equal(taps.read(x)["0"], model[0](x))


# Requested layers --------------------------------------------------------------------------------


def test_a_module_that_runs_several_times_needs_its_call():
    model: Any = torchvision.models.resnet18().eval()
    target, x = wrapped(model, 64), example_inputs(2, 64)
    with (
        pytest.raises(InputError, match=r"runs 2 times.*\n.*call=0 to call=1"),
        Taps(target, ["layer1.0.relu"]),
    ):
        pass
    with pytest.raises(InputError, match="no call=2: it runs 2 times"):
        Taps(target, [LayerSpec("layer1.0.relu", call=2)]).__enter__()
    stem = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    block = model.layer1[0]
    with Taps(target, [LayerSpec("layer1.0.relu", call=0)]) as taps:
        assert torch.equal(taps.read(x)["layer1.0.relu"], block.bn1(block.conv1(stem)).relu())
    with Taps(target, [LayerSpec("layer1.0.relu", call=1)]) as taps:
        assert torch.equal(taps.read(x)["layer1.0.relu"], block(stem))


def test_the_error_for_an_unknown_layer_names_the_nearest():
    target = wrapped(torchvision.models.resnet18(), 64)
    with pytest.raises(InputError, match="no layer named 'layer5'") as caught, Taps(target, ["layer5"]):
        pass
    assert "did you mean layer" in str(caught.value)
    assert "dissectbench list layers" in str(caught.value)


def test_a_module_that_never_runs_is_an_error():
    model = small_vit()  # attention uses the weights of its projection without running it
    name = "encoder.layers.encoder_layer_0.self_attention.out_proj"
    with pytest.raises(InputError, match="never run"), Taps(wrapped(model, 32), [name]):
        pass


def test_a_module_without_a_tensor_is_an_error():
    class Words(nn.Module):
        def forward(self, x):
            return "no tensor"

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = Words()

        def forward(self, x):
            return self.words(x)

    with (
        pytest.raises(InputError, match="returns no tensor but a str"),
        Taps(wrapped(Model(), 8), ["words"]),
    ):
        pass


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "no layers"),
        (["0", {"name": "0", "call": 0}], "given 2 times"),
        ([{"tokens": "mean"}], "the key `name`"),
        ([None], "the key `name`"),
        ([""], "needs a name"),
        ([{"name": "0", "token": "mean"}], "unknown setting 'token'.*\n.*tokens"),
        ([{"name": "0", "tokens": "cls"}], "tokens is 'cls'\n.*class, mean or grid"),
        ([{"name": "0", "layout": "hwc"}], "layout is 'hwc'\n.*nhwc"),
        ([{"name": "0", "grid": [3]}], r"grid is \[3\]"),
        ([{"name": "0", "call": -1}], "call is -1"),
    ],
)
def test_an_invalid_layer_setting_is_named(layers, message):
    with pytest.raises(InputError, match=message):
        Taps(wrapped(nn.Sequential(nn.Identity()), 8), layers)


def test_tokens_of_a_layer_without_tokens_are_an_error():
    target = wrapped(nn.Sequential(nn.Conv2d(3, 4, 1)), 8)
    with pytest.raises(InputError, match="has no tokens"), Taps(target, [LayerSpec("0", tokens="mean")]):
        pass


def test_the_list_of_layers_says_how_each_is_read_or_which_setting_it_needs():
    model = torchvision.models.resnet18()
    listed = {line.name: line for line in list_layers(wrapped(model, 64))}
    assert set(listed) == {name for name, _ in model.named_modules() if name}
    conv = listed["conv1"]
    assert (conv.module, conv.shape) == ("Conv2d", (64, 32, 32))
    assert conv.info is not None
    assert conv.info.n_units == 64
    assert (conv.kind, conv.n_units, conv.map_shape) == ("spatial", 64, (32, 32))
    relu = listed["layer1.0.relu"]
    assert relu.info is None
    assert (relu.kind, relu.n_units, relu.map_shape) == ("?", "?", (1, 1))
    assert "set call=0 to call=1" in relu.note
    vit = {line.name: line for line in list_layers(wrapped(small_vit(), 32))}
    assert "never run" in vit["encoder.layers.encoder_layer_0.self_attention.out_proj"].note
    assert vit["encoder.layers.encoder_layer_0.self_attention.out_proj"].shape is None


def test_every_listed_layer_can_be_read():
    model = torchvision.models.shufflenet_v2_x0_5().eval()
    target = wrapped(model, 64)
    names = [line.name for line in list_layers(target) if line.info]
    assert len(names) > 100
    with Taps(target, names) as taps:
        got = taps.read(example_inputs(2, 64))
    for name in names:
        assert got[name].shape[1:] == (taps.info[name].n_units, *taps.info[name].map_shape)
