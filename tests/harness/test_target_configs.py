"""Every file in harness/conf/target describes a target."""

import pytest
import torchvision
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dissectbench.harness.config import shipped
from dissectbench.harness.targets.target import Target

FILES = sorted((shipped() / "target").glob("*.yaml"))

REQUIRED = {
    "torchvision": ["target.name=resnet18"],
    "timm": ["target.name=test_vit"],
    "huggingface": ["target.name_or_path=some/model"],
    "checkpoint": ["target.name=resnet18", "target.checkpoint=x.pth", "target.num_classes=3"],
    "resnet18_places365": ["target.checkpoint=x.pth"],
    "factory": ["target.factory=a.b:c", "+target.width=[1,2]"],
}
"""Values for the settings that a file leaves to the user."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_configuration_makes_a_target_without_loading_it(file):
    overrides = [f"+target={file.stem}", "+device=cpu", *REQUIRED.get(file.stem, [])]
    with initialize_config_dir(str(shipped().resolve()), version_base="1.3"):
        node = compose(overrides=overrides).target
    assert not OmegaConf.missing_keys(node)
    target = instantiate(node)
    assert isinstance(target, Target)
    assert target.name


TORCHVISION = [
    file for file in FILES if file.stem not in REQUIRED and "torchvision_model" in file.read_text()
]


@pytest.mark.parametrize("file", TORCHVISION, ids=lambda file: file.stem)
def test_a_configuration_names_weights_that_torchvision_has(file):
    node = OmegaConf.load(file)
    assert node.weights in torchvision.models.get_model_weights(node.name).__members__


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_first_line_says_what_the_target_is(file):
    """`dissectbench list targets` prints this line."""
    assert file.read_text("utf-8").startswith("# ")
