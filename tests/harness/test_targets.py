"""Targets load when first used: from libraries, from files, from users' own functions."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from dissectbench.harness.config import shipped
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import Region
from dissectbench.harness.targets import zoo
from dissectbench.harness.targets.fingerprints import describe
from dissectbench.harness.targets.known_models import known_models
from dissectbench.harness.targets.target import Target, from_factory


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))


PREPROCESS = Compose([Resize((32, 32)), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])


def target(model=None, preprocess: Any = PREPROCESS, name="test") -> Target:
    return Target.of(name, model or network(), preprocess, device="cpu")


# A target ----------------------------------------------------------------------------------------


def test_a_target_is_ready_for_reading():
    ready = target(network().train())
    assert not ready.model.training
    assert not any(parameter.requires_grad for parameter in ready.model.parameters())
    assert ready.device == torch.device("cpu")
    assert ready.example_input().shape == (3, 32, 32)
    assert ready.region((64, 48)) == Region()


def test_nothing_is_loaded_before_it_is_used():
    loads = []

    def load():
        loads.append(1)
        raise InputError("no weights")

    lazy = Target("lazy", load)
    assert (lazy.name, repr(lazy), loads) == ("lazy", "Target('lazy')", [])
    with pytest.raises(InputError, match="no weights"):
        _ = lazy.model


def test_making_a_target_imports_no_heavy_library():
    code = (
        "import sys\n"
        "from dissectbench.harness.targets import target as targets, zoo, layers\n"
        "zoo.torchvision_model('resnet50'), zoo.timm_model('x'), zoo.huggingface_model('y')\n"
        "targets.from_factory('nowhere:make')\n"
        "heavy = {'torch', 'torchvision', 'timm', 'transformers', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "preprocess", [lambda _: torch.zeros(3, 4), lambda _: torch.zeros(3, 4, 4).int(), str]
)
def test_a_preprocessing_that_gives_no_picture_is_explained(preprocess):
    with pytest.raises(InputError, match="float tensor"):
        target(preprocess=preprocess).example_input()


# Fingerprints ------------------------------------------------------------------------------------


def test_the_same_target_has_the_same_fingerprint_in_every_process(tmp_path):
    code = (
        "from dissectbench.harness.targets.zoo import torchvision_model\n"
        "print(torchvision_model('squeezenet1_1', weights=None, seed=3, device='cpu').fingerprint())\n"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout.strip()
    here = zoo.torchvision_model("squeezenet1_1", weights=None, seed=3, device="cpu").fingerprint()
    assert elsewhere == here


def test_the_fingerprint_does_not_depend_on_the_name():
    assert target().fingerprint() == target(name="other").fingerprint()


def changed(edit):
    model = network()
    with torch.no_grad():
        edit(model)
    return model


@pytest.mark.parametrize(
    "model",
    [
        changed(lambda m: m[0].weight.view(-1)[5].add_(1e-6)),  # one weight
        changed(lambda m: m[2].running_mean.add_(1)),  # a buffer
        changed(lambda m: m.half()),  # the type
        changed(lambda m: setattr(m[0], "stride", (2, 2))),  # the architecture
        changed(lambda m: m.__setitem__(1, nn.GELU())),  # a module without weights
    ],
)
def test_whatever_changes_the_network_changes_the_fingerprint(model):
    assert target(model).fingerprint() != target().fingerprint()


def made(size, mean=0.5):
    def preprocess(image):
        return ToTensor()(image.resize((size, size))) - mean

    return preprocess


@pytest.mark.parametrize(
    "preprocess",
    [
        Compose([Resize((33, 32)), *PREPROCESS.transforms[1:]]),
        Compose([*PREPROCESS.transforms[:2], Normalize([0.5] * 3, [0.4] * 3)]),
        made(32),
        made(32, mean=0.25),
        lambda image: ToTensor()(image),
        lambda image: ToTensor()(image) * 2,
    ],
)
def test_whatever_changes_the_preprocessing_changes_the_fingerprint(preprocess):
    fingerprints = {target(preprocess=p).fingerprint() for p in (preprocess, PREPROCESS, made(31))}
    assert len(fingerprints) == 3
    assert target(preprocess=preprocess).fingerprint() in fingerprints


def test_an_explicit_identity_is_all_that_counts():
    class Versioned:
        def __init__(self, identity, secret):
            self.identity, self.secret = identity, secret

        def __call__(self, image):
            return ToTensor()(image)

    one, same, two = Versioned("v1", 1), Versioned("v1", 2), Versioned("v2", 1)
    assert describe(one) == describe(same) != describe(two)


def test_descriptions_are_json_without_addresses():
    class Odd:
        def __init__(self):
            self.itself, self.values = self, {"a": (1, 2.5, float("nan")), "b": {3, 4}}
            self.tensor, self.kind, self.method = torch.ones(2), int, [].append

    text = json.dumps(
        describe([Odd(), made(3), PREPROCESS, print, Image.Resampling.BICUBIC]), allow_nan=False
    )
    assert "0x" not in text


# torchvision -------------------------------------------------------------------------------------


def test_random_weights_are_named_as_such_and_seeded():
    state = torch.random.get_rng_state()
    one, same, two = (zoo.torchvision_model("resnet18", None, device="cpu", seed=s) for s in (5, 5, 6))
    assert one.name == "resnet18-random5"
    assert one.fingerprint() == same.fingerprint() != two.fingerprint()
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_checkpoint_gives_a_named_architecture_its_weights(tmp_path):
    source = torchvision.models.resnet18(num_classes=7)
    path = tmp_path / "best.pth.tar"
    torch.save({"state_dict": {f"module.{n}": t for n, t in source.state_dict().items()}}, path)
    loaded = zoo.torchvision_model("resnet18", checkpoint=str(path), num_classes=7, device="cpu")
    assert loaded.name == "resnet18"
    assert loaded.classes is None  # ImageNet's thousand are not these seven
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded.model(x), source.eval()(x))
    short = zoo.torchvision_model("resnet18", checkpoint=str(path), device="cpu")
    with pytest.raises(InputError, match="num_classes=7"):
        _ = short.model


def test_weights_are_taken_from_the_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source: Any = torchvision.models.squeezenet1_1()
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / Path(weights.url).name
    path.parent.mkdir(parents=True)
    torch.save(source.state_dict(), path)
    loaded = zoo.torchvision_model("squeezenet1_1", "IMAGENET1K_V1", device="cpu")
    assert torch.equal(loaded.model.state_dict()["classifier.1.bias"], source.classifier[1].bias)
    assert loaded.classes is not None
    assert (len(loaded.classes), loaded.classes[0]) == (1000, "tench")
    region = loaded.region((500, 375))
    assert region.left == pytest.approx((341 - 224) / 2 / 341, abs=2e-3)

    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"squeezenet1_1-.*\.pth cannot be read"):
        _ = zoo.torchvision_model("squeezenet1_1", "DEFAULT", device="cpu").model


def test_without_a_network_missing_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(
        InputError, match=r"cannot download https://download.pytorch.org/.*resnet18"
    ) as caught:
        _ = zoo.torchvision_model("resnet18", "IMAGENET1K_V1").model
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)


def _no_network(*_args):
    raise OSError("Name or service not known")


def test_a_segmentation_network_has_no_hidden_download(monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    model = zoo.torchvision_model("lraspp_mobilenet_v3_large", None, device="cpu").model
    assert isinstance(model, torchvision.models.segmentation.LRASPP)


def test_settings_go_to_the_builder():
    settings: Any = {"image_size": 64}
    vit = zoo.torchvision_model("vit_b_32", None, num_classes=3, device="cpu", **settings).model
    assert vit(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "resnet5"}, "torchvision has no model 'resnet5'.*\n.*did you mean .*resnet50"),
        ({"weights": "IMAGENET1K_V3"}, "no weights 'IMAGENET1K_V3'.*\n.*IMAGENET1K_V2"),
        ({"weights": None, "device": "cuda:99"}, "no such device"),
        ({"checkpoint": "missing.pth"}, "missing.pth does not exist"),
    ],
)
def test_wrong_settings_are_explained(settings, message):
    with pytest.raises(InputError, match=message):
        _ = zoo.torchvision_model(**{"name": "resnet50", **settings}).model


# timm and Hugging Face ---------------------------------------------------------------------------


def test_a_timm_model_reads_a_checkpoint_and_its_own_preprocessing(tmp_path):
    source: Any = timm.create_model("test_vit", num_classes=5).eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    loaded = zoo.timm_model(
        "test_vit", checkpoint=str(tmp_path / "weights.pth"), num_classes=5, device="cpu"
    )
    x = loaded.preprocess(Image.new("RGB", (300, 200), (9, 90, 200)))[None]
    assert x.shape[2:] == source.pretrained_cfg["input_size"][1:]
    with torch.no_grad():
        assert torch.equal(loaded.model(x), source(x))
    assert pickle.loads(pickle.dumps(loaded.preprocess)) is not None


def test_timm_models_that_cannot_be_had_are_explained():
    with pytest.raises(
        InputError, match=r"timm has no model 'vit_tiny_patch16_22'.*\n.*vit_tiny_patch16_224"
    ):
        _ = zoo.timm_model("vit_tiny_patch16_22").model
    message = r"timm cannot load resnet18: the model timm/resnet18.a1_in1k is not in .*\n.*checkpoint="
    with pytest.raises(InputError, match=message):
        _ = zoo.timm_model("resnet18").model  # no network in tests
    assert zoo.timm_model("test_vit", pretrained=False).name == "test_vit-random0"


def in_cache(monkeypatch, tmp_path, name):
    """An empty model in the Hugging Face cache, as the hub's client lays it out."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    folder = repository / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    return folder


def test_a_timm_model_comes_from_the_cache_without_a_network(monkeypatch, tmp_path):
    folder = in_cache(monkeypatch, tmp_path, "timm/test_vit.r160_in1k")
    source: Any = timm.create_model("test_vit").eval()
    save_file(source.state_dict(), folder / "model.safetensors")
    own = "timm.models._builder.load_state_dict_from_hf"  # which tries the hub again and again
    monkeypatch.setattr(own, lambda *_, **__: pytest.fail("timm looks for the weights itself"))
    found = zoo.timm_model("test_vit", device="cpu").model
    assert all(torch.equal(found.state_dict()[n], value) for n, value in source.state_dict().items())


def test_a_hugging_face_model_comes_from_the_cache_without_a_network(monkeypatch, tmp_path):
    source: Any = save_vit(in_cache(monkeypatch, tmp_path, "org/pets"))
    found: Any = zoo.huggingface_model("org/pets", device="cpu")
    assert found.name == "pets"
    assert torch.equal(
        found.model.state_dict()["classifier.bias"], source.state_dict()["classifier.bias"]
    )


def save_vit(folder, classify=True, **settings):
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        **settings,
    )
    kind = transformers.ViTForImageClassification if classify else transformers.ViTModel
    model = kind(config).eval()
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model


def test_a_hugging_face_folder_is_read(tmp_path):
    names: Any = {0: "cat", 1: "dog"}
    source: Any = save_vit(tmp_path / "pets", id2label=names, label2id={"cat": 0, "dog": 1})
    loaded = zoo.huggingface_model(str(tmp_path / "pets"), device="cpu")
    assert (loaded.name, loaded.classes) == ("pets", ("cat", "dog"))
    x = loaded.preprocess(Image.new("RGB", (60, 40), (9, 90, 200)))
    assert x.shape == (3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.model(x[None]).logits, source(x[None]).logits)
    assert loaded.region((60, 40)) == Region()
    assert (
        loaded.fingerprint() == zoo.huggingface_model(str(tmp_path / "pets"), device="cpu").fingerprint()
    )


def test_a_hugging_face_model_without_a_head_has_no_classes(tmp_path):
    save_vit(tmp_path, classify=False)
    loaded = zoo.huggingface_model(str(tmp_path), device="cpu")
    assert loaded.classes is None
    assert isinstance(loaded.model, transformers.ViTModel)


def test_weights_that_a_hugging_face_file_lacks_are_told_and_always_the_same(tmp_path):
    state = save_vit(tmp_path, classify=False).state_dict()
    save_file({n: t for n, t in state.items() if "pooler" not in n}, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="no weights for pooler.dense.bias, pooler.dense.weight"):
        one = zoo.huggingface_model(str(tmp_path), device="cpu").fingerprint()
    with pytest.warns(UserWarning, match="random"):
        assert zoo.huggingface_model(str(tmp_path), device="cpu").fingerprint() == one


def test_the_vision_tower_of_a_clip_is_the_target(tmp_path):
    small: Any = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        vision_config={**small, "image_size": 32, "patch_size": 8},
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    processor: Any = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**processor).save_pretrained(tmp_path)
    loaded = zoo.huggingface_model(str(tmp_path), device="cpu")
    with torch.no_grad():
        assert loaded.model(loaded.example_input()[None]).last_hidden_state.shape == (1, 17, 16)


def test_hugging_face_models_that_cannot_be_had_are_explained(tmp_path):
    with pytest.raises(InputError, match=r"org/nowhere is not in .*\n.*hf download org/nowhere"):
        _ = zoo.huggingface_model("org/nowhere").model  # no network in tests
    with pytest.raises(InputError, match=rf"transformers cannot load {tmp_path}.*\n.*config.json"):
        _ = zoo.huggingface_model(str(tmp_path)).model
    save_vit(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(InputError, match="transformers cannot load"):
        _ = zoo.huggingface_model(str(tmp_path)).model
    save_vit(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"transformers cannot load .*\n.*preprocessor_config.json"):
        _ = zoo.huggingface_model(str(tmp_path)).model


# Users' own --------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into a working directory of its own and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    names = []

    def write(source):
        names.append(f"users_module_{tmp_path.name.replace('-', '_')}_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(source)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


FACTORY = """
import torch
from torchvision.transforms import ToTensor

def make(width=4, stride=1):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, stride)), ToTensor(), ["a", "b"]

def pair():
    return make()[:2]

def made():
    from dissectbench.harness.targets import Target
    return Target.of("inner", *pair(), classes=["x"], device="cpu")

def lonely():
    return make()[0]

def swapped():
    return make()[1], make()[0]

def broken():
    return undefined_name

number = 3
"""


def test_a_function_in_the_working_directory_makes_a_target(module):
    name = module(FACTORY)
    own = from_factory(f"{name}:make", device="cpu", example_size=[20, 10], width=6)
    assert own.name == "make"
    assert own.classes == ("a", "b")
    assert own.example_input().shape == (3, 10, 20)
    assert own.model(own.example_input()[None]).shape == (1, 6, 8, 18)


def test_a_factory_may_return_a_pair_or_a_target(module):
    name = module(FACTORY)
    assert from_factory(f"{name}:pair", device="cpu").classes is None
    assert from_factory(f"{name}:pair", device="cpu", classes=["u", "v"]).classes == ("u", "v")
    wrapped = from_factory(f"{name}:made", name="outer", device="cpu")
    assert (wrapped.name, wrapped.classes) == ("outer", ("x",))


def test_settings_of_a_factory_enter_the_fingerprint(module):
    name = module(FACTORY)
    one, same, two = (from_factory(f"{name}:make", device="cpu", stride=s) for s in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != two.fingerprint()


def test_the_source_of_a_users_network_enters_the_fingerprint(module):
    source = """
from torch import nn
from torchvision.transforms import ToTensor

class Net(nn.Module):
    def forward(self, x):
        return x * FACTOR

def make():
    return Net(), ToTensor()
"""
    fingerprints = set()
    for factor in ("2", "3", "2"):
        name = module(source.replace("FACTOR", factor))
        net = from_factory(f"{name}:make", device="cpu")
        fingerprints.add(describe(type(net.model))[-1])
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_colon", "no import path.*\n.*package.module:function"),
        ("no_such_package.models:make", "no module named 'no_such_package'"),
        ("{}:mak", "has no 'mak'.*\n.*did you mean .*make"),
        ("{}:number", "is a int, not a function"),
        ("{}:lonely", r"returned \(Sequential\).*\n.*\(model, preprocess\)"),
        ("{}:swapped", r"returned \(ToTensor, Sequential\)"),
        ("{}:broken", r"calling .*:broken failed: NameError.*\n.*users_module.*\.py:\d+"),
    ],
)
def test_a_factory_that_does_not_work_is_explained(module, path, message):
    with pytest.raises(InputError, match=message):
        _ = from_factory(path.format(module(FACTORY)), device="cpu").model


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_library_not_installed", "failed: ModuleNotFoundError: No module named 'a_library_not"),
        ("def make(:", "failed: SyntaxError"),
        ("1 / 0", r"failed: ZeroDivisionError.*\n.*\.py:1"),
    ],
)
def test_a_module_that_does_not_import_is_explained(module, source, message):
    with pytest.raises(InputError, match=message):
        _ = from_factory(f"{module(source)}:make").model


def test_an_unknown_setting_of_a_factory_is_explained(module):
    with pytest.raises(InputError, match="unexpected keyword argument 'depth'"):
        _ = from_factory(f"{module(FACTORY)}:make", depth=3).model


def test_the_guide_works_as_written(repository, tmp_path, monkeypatch, capsys):
    guide = (repository / "docs" / "add_a_model.md").read_text()
    factory, use = re.findall(r"```python\n(.*?)```", guide, re.S)
    (tmp_path / "my_models.py").write_text(factory)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(use, {})
    sys.modules.pop("my_models")
    assert f"prints `{capsys.readouterr().out.strip()}`" in guide


# Catalogue and configuration ---------------------------------------------------------------------


def test_the_catalogue_knows_the_models():
    assert "resnet50" in known_models("torchvision")
    assert {"resnet50", "vit_small_patch14_reg4_dinov2.lvd142m"} <= set(known_models("timm"))
    with pytest.raises(InputError, match="no list of models"):
        known_models("elsewhere")


CONFIGS = shipped()
GIVEN = {
    "torchvision": ["target.name=resnet18"],
    "timm": ["target.name=test_vit"],
    "huggingface": ["target.name_or_path=some/model"],
    "checkpoint": ["target.name=resnet18", "target.checkpoint=x.pth", "target.num_classes=3"],
    "resnet18_places365": ["target.checkpoint=x.pth"],
    "factory": ["target.factory=a.b:c", "+target.width=[1,2]"],
}
LIBRARY = [
    "resnet50",
    "resnet18",
    "resnet152",
    "vgg16",
    "densenet161",
    "convnext_tiny",
    "swin_t",
    "vit_b_16",
]


@pytest.mark.parametrize("name", [*LIBRARY, *GIVEN])
def test_every_configuration_makes_a_target_without_loading_it(name):
    overrides = [f"+target={name}", "+device=cpu", "+seed=0", *GIVEN.get(name, [])]
    with initialize_config_dir(str(CONFIGS.resolve()), version_base="1.3"):
        made = instantiate(compose(overrides=overrides).target)
    assert isinstance(made, Target)
    assert made.name
    if name not in GIVEN:
        config = (CONFIGS / "target" / f"{name}.yaml").read_text()
        weights = config.split("weights: ")[1].split()[0]
        assert weights in torchvision.models.get_model_weights(name).__members__
