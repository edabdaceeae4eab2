"""Tests targets: lazy loading, fingerprints, and user functions that build them."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.probe import Region
from dissectbench.harness.targets import torchvision_model
from dissectbench.harness.targets.factory import from_factory
from dissectbench.harness.targets.fingerprints import describe
from dissectbench.harness.targets.target import Target


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))


PREPROCESS = Compose([Resize((32, 32)), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])


def target(model=None, preprocess: Any = PREPROCESS, name="test") -> Target:
    return Target.of(model or network(), preprocess, name=name, device="cpu")


# Targets ------------------------------------------------------------------------------------------


def test_a_target_is_ready_for_reading():
    ready = target(network().train())
    assert not ready.model.training
    assert not any(parameter.requires_grad for parameter in ready.model.parameters())
    assert ready.device == torch.device("cpu")
    assert ready.example_input().shape == (3, 32, 32)
    assert ready.region((64, 48)) == Region()


def test_a_network_in_memory_is_named_after_its_class():
    net = Target.of(network(), PREPROCESS, classes=["a", "b"], device="cpu")
    assert (net.name, net.classes) == ("Sequential", ("a", "b"))


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda of, new: new(network(), PREPROCESS), "`name` must be a text, got Sequential"),
        (lambda of, new: new("net", network()), "`load` must be a function that .* got Sequential"),
        (lambda of, new: new("net", "resnet18"), "`load` must be a function that .* got str"),
        (lambda of, new: of("net", network()), r"`model` must be a torch\.nn\.Module, got str"),
        (lambda of, new: of(PREPROCESS, network()), "`model` must be .* got Compose"),
        (lambda of, new: of(network(), "net"), "`preprocess` must be .* got str"),
        (lambda of, new: of(network(), PREPROCESS, name=3), "`name` must be a text, got int"),
    ],
)
def test_arguments_in_wrong_roles_are_named(make, argument):
    with pytest.raises(InputError, match=argument) as caught:
        make(Target.of, Target)
    assert "Target.of(model, preprocess, name=...)" in str(caught.value)


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
        "from dissectbench.harness.targets import *\n"
        "torchvision_model('resnet50'), timm_model('x'), huggingface_model('y')\n"
        "from_factory('nowhere:make')\n"
        "heavy = {'torch', 'torchvision', 'timm', 'transformers', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "preprocess", [lambda _: torch.zeros(3, 4), lambda _: torch.zeros(3, 4, 4).int(), str]
)
def test_a_preprocessing_that_returns_no_image_tensor_is_explained(preprocess):
    with pytest.raises(InputError, match="float tensor"):
        target(preprocess=preprocess).example_input()


# Fingerprints -------------------------------------------------------------------------------------


def test_the_same_target_has_the_same_fingerprint_in_every_process(tmp_path):
    code = (
        "from dissectbench.harness.targets.zoo import torchvision_model\n"
        "print(torchvision_model('squeezenet1_1', weights=None, seed=3, device='cpu').fingerprint())\n"
    )
    in_another_process = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout.strip()
    in_this_process = torchvision_model("squeezenet1_1", weights=None, seed=3, device="cpu").fingerprint()
    assert in_another_process == in_this_process


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
def test_every_change_of_the_network_changes_the_fingerprint(model):
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
def test_every_change_of_the_preprocessing_changes_the_fingerprint(preprocess):
    fingerprints = {target(preprocess=p).fingerprint() for p in (preprocess, PREPROCESS, made(31))}
    assert len(fingerprints) == 3
    assert target(preprocess=preprocess).fingerprint() in fingerprints


def test_only_an_explicit_identity_counts():
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


# User functions -----------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Returns a function that writes a module to the working directory and returns its name."""
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
    return Target.of(*pair(), name="inner", classes=["x"], device="cpu")

def alone():
    return make()[0]

def other(image):
    return ToTensor()(image) * 2

def swapped():
    return make()[1], make()[0]

def broken():
    return undefined_name

number = 3
"""


def test_a_function_in_the_working_directory_makes_a_target(module):
    name = module(FACTORY)
    built = from_factory(f"{name}:make", device="cpu", example_size=[20, 10], width=6)
    assert built.name == "make"
    assert built.classes == ("a", "b")
    assert built.example_input().shape == (3, 10, 20)
    assert built.model(built.example_input()[None]).shape == (1, 6, 8, 18)


def test_a_factory_may_return_a_pair_or_a_target(module):
    name = module(FACTORY)
    assert from_factory(f"{name}:pair", device="cpu").classes is None
    assert from_factory(f"{name}:pair", device="cpu", classes=["u", "v"]).classes == ("u", "v")
    wrapped = from_factory(f"{name}:made", name="outer", device="cpu")
    assert (wrapped.name, wrapped.classes) == ("outer", ("x",))


def test_a_network_takes_the_preprocessing_of_its_module(module):
    name = module(FACTORY + "\ndef preprocess(image):\n    return ToTensor()(image) + 1\n")
    image = Image.new("RGB", (2, 2))
    for path in (f"{name}:alone", f"{name}.py:alone"):
        built = from_factory(path, device="cpu")
        assert built.preprocess(image).max() == 1
        assert isinstance(built.model, nn.Sequential)
    # What the function returns is used before what its module contains.
    assert from_factory(f"{name}:pair", device="cpu").preprocess(image).max() == 0


@pytest.mark.parametrize("function", ["alone", "pair", "made"])
def test_a_named_preprocessing_is_used(module, function):
    name = module(FACTORY)
    white = Image.new("RGB", (2, 2), "white")
    for preprocess in ("other", f"{name}:other"):
        built = from_factory(f"{name}:{function}", preprocess=preprocess, device="cpu")
        assert built.preprocess(white).max() == 2


def test_a_file_is_found_by_its_path_and_hidden_ones_are_reported(module, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "users_net_in_a_folder.py").write_text(FACTORY)
    assert from_factory("deep/users_net_in_a_folder.py:pair", device="cpu").loaded.classes is None
    (tmp_path / "json.py").write_text(FACTORY)
    with pytest.raises(InputError, match=r"another module is called 'json' too.*\n.*rename"):
        _ = from_factory(f"{tmp_path}/json.py:pair").model
    with pytest.raises(InputError, match=r"no such file: none\.py"):
        _ = from_factory("none.py:pair").model
    sys.modules.pop("users_net_in_a_folder")


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
        ("no_colon", "not an import path.*\n.*package.module:function"),
        ("no_such_package.models:make", "no module named 'no_such_package'"),
        ("{}:mak", "has no 'mak'.*\n.*did you mean .*make"),
        ("{}:number", "is a int, not a function"),
        ("{}:alone", r"has no 'preprocess'\n.*define preprocess\(image\) in the module"),
        ("{}:other", "missing 1 required positional argument"),
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
    factory, *use = re.findall(r"```python\n(.*?)```", guide, re.S)
    (tmp_path / "my_models.py").write_text(factory)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec("\n".join(use), {})
    command = compose(["target=my_models:build", "+target.width=32", "device=cpu"], only="target")
    first, second = (build(command.config.target, "target") for _ in range(2))
    assert first.model[0].out_channels == 32
    # A run under the same settings must find the same weights.
    assert first.fingerprint() == second.fingerprint()
    sys.modules.pop("my_models")
    assert f"prints `{capsys.readouterr().out.strip()}`" in guide
