"""Every shipped configuration is composed and built, without weights from the Hub.

A new file is tested without an entry here, unless it has required values (`???`): the test then fails
until they are in VALUES.
"""

from pathlib import Path
from typing import Any

import pytest
from small_data import write_small_data

from dissectbench.datasets.concepts import ConceptSet
from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.datasets.references import References
from dissectbench.harness.config import build, compose, groups
from dissectbench.harness.foundation.protocols import (
    Captioner,
    ImageGenerator,
    ImageTextEncoder,
    LanguageModel,
)
from dissectbench.harness.targets.target import Target
from dissectbench.methods.method import Method
from dissectbench.metrics.activation import ActivationMetric
from dissectbench.metrics.metric import Metric

TYPES: dict[str, type | tuple[type, ...]] = {
    "captioner": Captioner,
    "concepts": ConceptSet,
    "encoder": ImageTextEncoder,
    "generator": ImageGenerator,
    "language_model": LanguageModel,
    "method": Method,
    "metric": (Metric, ActivationMetric),
    "probe": ProbingSet,
    "references": References,
    "target": Target,
}
SEVERAL = ("method", "metric")  # groups of which a run may choose several: {name: component}
EXPERIMENTS = "experiment"  # overrides of other groups; composed, but not a component
FILES = [f"{group}/{choice}" for group, choices in groups().items() for choice in choices]

BRODEN, IMAGES = {"root": "broden"}, {"root": "set"}
# Values of the settings that a configuration leaves open, or that would make it slow.
VALUES: dict[str, dict[str, Any]] = {
    "concepts/broden": BRODEN,
    "concepts/classes": {"weights": "ResNet18_Weights.IMAGENET1K_V1"},
    "concepts/file": {"path": "names.txt"},
    "concepts/words_and_broden": {"sets.broden.root": "broden"},
    "encoder/huggingface": {"model": "org/model"},
    "encoder/open_clip": {"model": "hf-hub:org/model"},
    "experiment/resnet50_imagenet": {
        "probe.sets.imagenet.root": "set",
        "probe.sets.broden.root": "broden",
    },
    "generator/diffusers": {"model": "org/model"},
    "method/milan": {"milan.checkpoint": "package:dissectbench.datasets.tinyworld/weights/milan"},
    "probe/broden": BRODEN,
    "probe/cifar10": IMAGES,
    "probe/flat": {"root": "set/bee"},
    "probe/huggingface": {"path_or_name": "table", "split": "test"},
    "probe/imagefolder": IMAGES,
    "probe/imagenet_broden": {
        "sets.imagenet.root": "set",
        "sets.imagenet.class_names": "null",
        "sets.broden.root": "broden",
    },
    "probe/imagenet_val": {**IMAGES, "class_names": "[ant,bee]"},
    "probe/tinyworld": {"images": 4, "root": "world"},
    "references/milannotations": {"path": "annotations.csv", "layer": "fc"},
    "references/file": {"path": "names.txt"},
    "target/checkpoint": {"name": "resnet18", "checkpoint": "weights.pth", "num_classes": 3},
    "target/factory": {"factory": "package.module:function"},
    "target/huggingface": {"name_or_path": "org/model"},
    "target/resnet18_places365": {"checkpoint": "weights.pth"},
    "target/timm": {"name": "test_vit"},
    "target/torchvision": {"name": "regnet_y_400mf"},
}
SIZES = {
    "concepts/broden": 1,
    "concepts/classes": 1000,
    "concepts/file": 2,
    "concepts/imagenet": 1000,
    "concepts/words20k": 20_000,
    "concepts/words_and_broden": 20_000,  # Broden's only label is among the words
    "probe/broden": 1,
    "probe/cifar10": 2,
    "probe/flat": 1,
    "probe/huggingface": 1,
    "probe/imagefolder": 2,
    "probe/imagenet_broden": 3,
    "probe/imagenet_val": 2,
    "probe/tinyworld": 4,
    "references/milannotations": 2,
    "references/file": 2,
    "references/imagenet": 1000,
    "references/probe": 2,
    "references/tinyworld": 18,
}
# Packages that only these configurations need.
NEEDS = {
    "concepts/words20k": "wordfreq",
    "concepts/words_and_broden": "wordfreq",
    "probe/huggingface": "datasets",
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_cache: Path) -> Path:
    """The working directory, with the files that VALUES names; the Hugging Face cache is empty."""
    del hub_cache
    write_small_data(tmp_path)
    (tmp_path / "annotations.csv").write_text("layer,unit,summary\nfc,0,ants\nfc,1,bees\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_table(folder: Path) -> None:
    """Writes a data set of Hugging Face with one image to `table/`."""
    from datasets import Dataset

    image = (folder / "set" / "ant" / "1.png").read_bytes()
    Dataset.from_dict({"image": [image]}).save_to_disk(folder / "table")


def overrides(file: str) -> list[str]:
    """Returns the command line that chooses a configuration and sets its open values."""
    group, choice = file.split("/")
    prefix = "" if group == EXPERIMENTS else f"{group}."
    chosen = [f"{group}=[{choice}]" if group in SEVERAL else f"{group}={choice}"]
    if file == "references/probe":
        chosen += ["probe=imagefolder", "probe.root=set"]
    return [*chosen, *(f"{prefix}{key}={value}" for key, value in VALUES.get(file, {}).items())]


@pytest.mark.parametrize("file", FILES)
def test_a_configuration_is_composed_and_built(data, file):
    group, choice = file.split("/")
    if file in NEEDS:
        pytest.importorskip(NEEDS[file])
    if file == "probe/huggingface":
        write_table(data)
    config = compose(overrides(file), only=None if group == EXPERIMENTS else group).config
    if group == EXPERIMENTS:
        return
    nodes = config[group] if group in SEVERAL else {choice: config[group]}
    assert list(nodes) == [choice]
    component = build(nodes[choice], group)
    if file == "language_model/none":
        assert component is None
        return
    assert isinstance(component, TYPES[group])
    assert component.name
    if group in SEVERAL:
        assert component.name == choice
    if file in SIZES:
        assert len(component) == SIZES[file]


@pytest.mark.parametrize("root", ["config", "score", "milan_train"])
def test_a_root_configuration_is_composed(root):
    assert compose(root=root).text


def test_every_configuration_says_what_it_is():
    for group, choices in groups().items():
        for choice, comment in choices.items():
            assert comment, f"{group}/{choice}.yaml has no comment in its first line"


def test_the_tables_name_existing_files():
    assert {*VALUES, *SIZES, *NEEDS} <= set(FILES)
    assert {*TYPES, EXPERIMENTS} == set(groups())


def test_a_key_in_the_environment_is_not_in_a_dumped_configuration(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    address = "http://localhost:8000/v1"
    text = compose(["language_model=openai", f"language_model.server.base_url={address}"]).text
    assert address in text
    assert "sk-secret" not in text
