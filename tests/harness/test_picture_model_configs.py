"""The shipped choices of a captioner and of a generator."""

import pytest

from dissectbench.harness.config import build, compose
from dissectbench.harness.foundation.captioners import Blip, Blip2
from dissectbench.harness.foundation.chat_captioner import ChatCaptioner
from dissectbench.harness.foundation.concept_captioner import ConceptCaptioner
from dissectbench.harness.foundation.image_generators import Diffusers, Rendered

CAPTIONERS = {
    "blip": Blip,
    "blip2": Blip2,
    "chat": ChatCaptioner,
    "concepts": ConceptCaptioner,
    "tinyworld": Blip,
}
GENERATORS = {
    "stable_diffusion": Diffusers,
    "sdxl": Diffusers,
    "sdxl_turbo": Diffusers,
    "tinyworld": Rendered,
}


@pytest.mark.parametrize("choice", CAPTIONERS)
def test_every_captioner_is_built_without_a_weight_or_a_call(choice):
    config = compose([f"captioner={choice}"]).config
    assert type(build(config.captioner, "captioner")) is CAPTIONERS[choice]


@pytest.mark.parametrize("choice", GENERATORS)
def test_every_generator_is_built_without_a_weight(choice):
    config = compose([f"generator={choice}"]).config
    assert type(build(config.generator, "generator")) is GENERATORS[choice]


def test_another_pipeline_needs_its_name_alone():
    overrides = ["generator=diffusers", "generator.model=org/model", "generator.drawing.size=[640,512]"]
    generator = build(compose(overrides).config.generator, "generator")
    assert (generator.name, generator.settings["size"]) == ("model", [640, 512])
    assert generator.settings["options"] == {}
