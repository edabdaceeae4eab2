"""Describe-and-Dissect as the configuration makes it: each ablation is one override."""

import pytest

from dissectbench.harness.config import build, compose
from dissectbench.harness.errors import InputError

DND = "method.describe_and_dissect"


def made(*overrides):
    config = compose(["method=[describe_and_dissect]", *overrides]).config
    return build(config.method.describe_and_dissect, DND)


def test_by_default_it_runs_on_the_embedded_world_without_a_language_model():
    names = set(made().models().values())
    assert {"tinyworld-captioner", "tinyworld-renderer", "tinyworld-clip"} < names
    assert "key phrases (no language model)" in names


@pytest.mark.parametrize(
    ("override", "models"),
    [
        (f"{DND}.crops=off", 4),
        (f"{DND}.selection=false", 2),
        ("language_model=none", 3),
        ("captioner=concepts", 4),
        (f"{DND}.scoring=topk_sq_mean", 3),
        (f"{DND}.labels=3", 4),
        (f"{DND}.variant=official", 4),
    ],
)
def test_each_ablation_is_one_override(override, models):
    assert len(made(override).models()) == models


def test_a_real_run_needs_nothing_but_its_settings(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    real = made("language_model=openai", "captioner=blip", "generator=stable_diffusion")
    assert real.models()["language model"] == "gpt-4o-mini"
    expected = real.expected_calls(100)
    assert expected.calls == 1500
    assert 0 < expected.cost_usd < expected.most_usd


def test_a_wrong_ablation_names_the_right_one():
    with pytest.raises(InputError, match="did you mean"):
        made(f"{DND}.scoring=topk_mean")
