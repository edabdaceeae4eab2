"""Targets from torchvision, timm and Hugging Face transformers."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.torch import save_file

from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import Region
from dissectbench.harness.targets import (
    huggingface_model,
    list_layers,
    timm_model,
    torchvision_model,
)
from dissectbench.harness.targets.known_models import known_models

# torchvision --------------------------------------------------------------------------------------


def test_random_weights_are_named_as_such_and_seeded():
    state = torch.random.get_rng_state()
    one, same, two = (torchvision_model("resnet18", None, device="cpu", seed=s) for s in (5, 5, 6))
    assert one.name == "resnet18-random5"
    assert one.fingerprint() == same.fingerprint() != two.fingerprint()
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_checkpoint_gives_a_named_architecture_its_weights(tmp_path):
    source = torchvision.models.resnet18(num_classes=7)
    path = tmp_path / "best.pth.tar"
    torch.save({"state_dict": {f"module.{n}": t for n, t in source.state_dict().items()}}, path)
    loaded = torchvision_model("resnet18", checkpoint=str(path), num_classes=7, device="cpu")
    assert loaded.name == "resnet18"
    assert loaded.classes is None  # ImageNet's 1000 names do not fit 7 outputs
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded.model(x), source.eval()(x))
    short = torchvision_model("resnet18", checkpoint=str(path), device="cpu")
    with pytest.raises(InputError, match="num_classes=7"):
        _ = short.model


def test_weights_are_taken_from_the_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source: Any = torchvision.models.squeezenet1_1()
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / Path(weights.url).name
    path.parent.mkdir(parents=True)
    torch.save(source.state_dict(), path)
    loaded = torchvision_model("squeezenet1_1", "IMAGENET1K_V1", device="cpu")
    assert torch.equal(loaded.model.state_dict()["classifier.1.bias"], source.classifier[1].bias)
    assert loaded.classes is not None
    assert (len(loaded.classes), loaded.classes[0]) == (1000, "tench")
    region = loaded.region((500, 375))
    assert region.left == pytest.approx((341 - 224) / 2 / 341, abs=2e-3)

    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"squeezenet1_1-.*\.pth cannot be read"):
        _ = torchvision_model("squeezenet1_1", "DEFAULT", device="cpu").model


def test_without_a_network_missing_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(
        InputError, match=r"cannot download https://download.pytorch.org/.*resnet18"
    ) as caught:
        _ = torchvision_model("resnet18", "IMAGENET1K_V1").model
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)


def test_layers_are_listed_without_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    targets = [
        torchvision_model("resnet18", "IMAGENET1K_V1", device="cpu"),
        torchvision_model("resnet18", None, checkpoint="none.pth", num_classes=3, device="cpu"),
        timm_model("resnet18", checkpoint="none.pth", device="cpu"),
    ]
    for target, outputs in zip(targets, (1000, 3, 1000), strict=True):
        layers = {layer.name: layer for layer in list_layers(target.untrained())}
        assert (layers["layer4"].n_units, layers["fc"].n_units) == (512, outputs)
        assert target.untrained().name == target.name
    with pytest.raises(InputError, match=r"none\.pth does not exist"):
        _ = targets[1].model


def _no_network(*_args):
    raise OSError("Name or service not known")


def test_a_segmentation_network_has_no_hidden_download(monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    model = torchvision_model("lraspp_mobilenet_v3_large", None, device="cpu").model
    assert isinstance(model, torchvision.models.segmentation.LRASPP)


def test_settings_are_passed_to_the_builder():
    settings: Any = {"image_size": 64}
    vit = torchvision_model("vit_b_32", None, num_classes=3, device="cpu", **settings).model
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
        _ = torchvision_model(**{"name": "resnet50", **settings}).model


# timm ---------------------------------------------------------------------------------------------


def test_a_timm_model_reads_a_checkpoint_and_its_own_preprocessing(tmp_path):
    source: Any = timm.create_model("test_vit", num_classes=5).eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    loaded = timm_model("test_vit", checkpoint=str(tmp_path / "weights.pth"), num_classes=5, device="cpu")
    x = loaded.preprocess(Image.new("RGB", (300, 200), (9, 90, 200)))[None]
    assert x.shape[2:] == source.pretrained_cfg["input_size"][1:]
    with torch.no_grad():
        assert torch.equal(loaded.model(x), source(x))
    assert pickle.loads(pickle.dumps(loaded.preprocess)) is not None


def test_timm_models_that_cannot_be_loaded_are_explained():
    with pytest.raises(
        InputError, match=r"timm has no model 'vit_tiny_patch16_22'.*\n.*vit_tiny_patch16_224"
    ):
        _ = timm_model("vit_tiny_patch16_22").model
    message = r"timm cannot load resnet18: the model timm/resnet18.a1_in1k is not in .*\n.*checkpoint="
    with pytest.raises(InputError, match=message):
        _ = timm_model("resnet18").model  # no network in tests
    assert timm_model("test_vit", pretrained=False).name == "test_vit-random0"


def in_cache(monkeypatch, tmp_path, name, revision="main", commit="a" * 40):
    """Returns an empty snapshot in the Hugging Face cache, in the layout of the Hub's client."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    return folder


def save_timm(folder, seed):
    """Saves a timm model with random weights of `seed`; returns its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = timm.create_model("test_vit").state_dict()
    save_file(state, folder / "model.safetensors")
    return state


def test_a_timm_model_comes_from_the_cache_without_a_network(monkeypatch, tmp_path):
    state = save_timm(in_cache(monkeypatch, tmp_path, "timm/test_vit.r160_in1k"), 1)
    loader = "timm.models._builder.load_state_dict_from_hf"  # it would try the Hub several times
    monkeypatch.setattr(loader, lambda *_, **__: pytest.fail("timm looks for the weights itself"))
    target = timm_model("test_vit", device="cpu")
    loaded = target.model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert target.commit == "a" * 40


def test_a_revision_of_timms_weights_is_loaded_and_named(monkeypatch, tmp_path):
    save_timm(in_cache(monkeypatch, tmp_path, "timm/test_vit.r160_in1k"), 1)
    other = in_cache(monkeypatch, tmp_path, "timm/test_vit.r160_in1k", "v2", "b" * 40)
    state = save_timm(other, 2)
    main = timm_model("test_vit", device="cpu")
    target = timm_model("test_vit", revision="v2", device="cpu")
    assert (target.name, target.commit) == ("test_vit@v2", "b" * 40)
    assert torch.equal(target.model.state_dict()["head.weight"], state["head.weight"])
    assert target.fingerprint() != main.fingerprint()
    assert timm_model("test_vit", revision="b" * 40, device="cpu").fingerprint() == target.fingerprint()


def test_a_revision_of_weights_without_revisions_is_refused(monkeypatch):
    import timm.models as models

    config = models.get_pretrained_cfg("test_vit")
    assert config is not None
    monkeypatch.setattr(config, "hf_hub_id", None)
    monkeypatch.setattr(models, "get_pretrained_cfg", lambda _name: config)
    with pytest.raises(InputError, match=r"timm's weights of test_vit have no revisions.*\n.*revision="):
        _ = timm_model("test_vit", revision="v2", device="cpu").model


# Hugging Face -------------------------------------------------------------------------------------


def test_a_hugging_face_model_comes_from_the_cache_without_a_network(monkeypatch, tmp_path):
    source: Any = save_vit(in_cache(monkeypatch, tmp_path, "org/pets"))
    target: Any = huggingface_model("org/pets", device="cpu")
    assert (target.name, target.commit) == ("pets", "a" * 40)
    assert torch.equal(
        target.model.state_dict()["classifier.bias"], source.state_dict()["classifier.bias"]
    )


def test_a_revision_of_a_hugging_face_model_is_loaded_and_named(monkeypatch, tmp_path):
    save_vit(in_cache(monkeypatch, tmp_path, "org/pets"))
    source: Any = save_vit(in_cache(monkeypatch, tmp_path, "org/pets", "v2", "b" * 40))
    target: Any = huggingface_model("org/pets", "v2", device="cpu")
    assert (target.name, target.commit) == ("pets@v2", "b" * 40)
    weight = "classifier.weight"
    assert torch.equal(target.model.state_dict()[weight], source.state_dict()[weight])
    with pytest.raises(InputError, match=r"org/pets \(revision v3\) is not in"):
        _ = huggingface_model("org/pets", "v3", device="cpu").model  # no network in tests


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
    loaded = huggingface_model(str(tmp_path / "pets"), device="cpu")
    assert (loaded.name, loaded.classes, loaded.commit) == ("pets", ("cat", "dog"), None)
    x = loaded.preprocess(Image.new("RGB", (60, 40), (9, 90, 200)))
    assert x.shape == (3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.model(x[None]).logits, source(x[None]).logits)
    assert loaded.region((60, 40)) == Region()
    assert loaded.fingerprint() == huggingface_model(str(tmp_path / "pets"), device="cpu").fingerprint()


@pytest.mark.parametrize("classify", [True, False])
def test_layers_of_a_hugging_face_model_are_listed_without_weights(tmp_path, classify):
    save_vit(tmp_path, classify=classify)
    target = huggingface_model(str(tmp_path), device="cpu")
    whole = list_layers(target)
    (tmp_path / "model.safetensors").unlink()
    assert list_layers(target.untrained()) == whole


def test_a_hugging_face_model_without_a_head_has_no_classes(tmp_path):
    save_vit(tmp_path, classify=False)
    loaded = huggingface_model(str(tmp_path), device="cpu")
    assert loaded.classes is None
    assert isinstance(loaded.model, transformers.ViTModel)


def test_weights_missing_from_a_hugging_face_file_are_reported_and_seeded(tmp_path):
    state = save_vit(tmp_path, classify=False).state_dict()
    save_file({n: t for n, t in state.items() if "pooler" not in n}, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="no weights for pooler.dense.bias, pooler.dense.weight"):
        one = huggingface_model(str(tmp_path), device="cpu").fingerprint()
    with pytest.warns(UserWarning, match="random"):
        assert huggingface_model(str(tmp_path), device="cpu").fingerprint() == one


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
    loaded = huggingface_model(str(tmp_path), device="cpu")
    with torch.no_grad():
        assert loaded.model(loaded.example_input()[None]).last_hidden_state.shape == (1, 17, 16)


def test_hugging_face_models_that_cannot_be_loaded_are_explained(tmp_path):
    with pytest.raises(InputError, match=r"org/nowhere is not in .*\n.*hf download org/nowhere"):
        _ = huggingface_model("org/nowhere").model  # no network in tests
    with pytest.raises(InputError, match=rf"transformers cannot load {tmp_path}.*\n.*config.json"):
        _ = huggingface_model(str(tmp_path)).model
    save_vit(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(InputError, match="transformers cannot load"):
        _ = huggingface_model(str(tmp_path)).model
    save_vit(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"transformers cannot load .*\n.*preprocessor_config.json"):
        _ = huggingface_model(str(tmp_path)).model


# Lists of models ----------------------------------------------------------------------------------


def test_models_are_listed_by_library():
    assert "resnet50" in known_models("torchvision")
    assert {"resnet50", "vit_small_patch14_reg4_dinov2.lvd142m"} <= set(known_models("timm"))
    with pytest.raises(InputError, match="no list of models"):
        known_models("elsewhere")
