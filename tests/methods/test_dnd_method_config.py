"""Describe-and-Dissect built from the configuration: each ablation is one override."""

from dataclasses import asdict

import pytest

from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError
from dissectbench.methods.dnd import (
    CandidateSettings,
    ExemplarSettings,
    LabelSettings,
    ScoringSettings,
    SyntheticImageSettings,
)

DND = "method.describe_and_dissect"


def built(*overrides):
    config = compose(["method=[describe_and_dissect]", *overrides]).config
    return build(config.method.describe_and_dissect, DND)


def test_by_default_it_uses_the_models_of_tinyworld_and_no_language_model():
    names = set(built().models().values())
    assert {"tinyworld-captioner", "tinyworld-renderer", "tinyworld-clip"} < names
    assert "key phrases (no language model)" in names


@pytest.mark.parametrize(
    ("override", "models"),
    [
        (f"{DND}.exemplars.crops=off", 4),
        (f"{DND}.scoring.enabled=false", 2),
        ("language_model=none", 3),
        ("captioner=concepts", 4),
        (f"{DND}.scoring.function=topk_sq_mean", 3),
        (f"{DND}.labels.count=3", 4),
        (f"{DND}.variant=official", 4),
    ],
)
def test_each_ablation_is_one_override(override, models):
    assert len(built(override).models()) == models


def test_a_real_run_needs_nothing_but_its_settings(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    real = built("language_model=openai", "captioner=blip", "generator=stable_diffusion")
    assert real.models()["language model"] == "gpt-4o-mini"
    expected = real.expected_calls(100)
    assert expected.calls == 1500
    assert 0 < expected.cost_usd < expected.most_usd


def test_a_wrong_value_names_the_setting_and_the_nearest_value():
    with pytest.raises(InputError, match=r"(?s)scoring\.function.*topk_mean.*did you mean"):
        built(f"{DND}.scoring.function=topk_mean")


def test_the_configuration_states_the_defaults_of_the_settings():
    config = compose(["method=[describe_and_dissect]"]).config.method.describe_and_dissect
    groups = {
        "exemplars": ExemplarSettings(),
        "candidates": CandidateSettings(),
        "synthetic_images": SyntheticImageSettings(),
        "scoring": ScoringSettings(),
        "labels": LabelSettings(),
    }
    for name, defaults in groups.items():
        assert {k: v for k, v in config[name].items() if k != "_target_"} == asdict(defaults)
        assert build(config[name], name) == defaults
