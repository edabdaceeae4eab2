"""The shipped choices of a language model."""

import pytest

from dissectbench.harness.config import build, compose
from dissectbench.harness.foundation.chat_settings import ChatServer
from dissectbench.harness.foundation.key_phrases import KeyPhrases
from dissectbench.harness.foundation.openai_chat import OpenAIChat
from dissectbench.harness.foundation.transformers_chat import TransformersChat

CHOICES = {"openai": OpenAIChat, "transformers": TransformersChat, "key_phrases": KeyPhrases}


def composed(choice, *overrides):
    return compose([f"language_model={choice}", *overrides])


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_is_built_without_a_weight_or_a_call(choice):
    assert type(build(composed(choice).config.language_model, "language_model")) is CHOICES[choice]


def test_none_is_a_choice():
    assert build(composed("none").config.language_model, "language_model") is None


def test_the_key_is_not_in_a_dumped_configuration(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    settings = composed("openai", "language_model.server.base_url=http://localhost:8000/v1")
    assert "http://localhost:8000/v1" in settings.text
    assert "sk-secret" not in settings.text


def test_known_models_of_openai_have_a_price_and_others_none(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    model = build(
        composed("openai", "language_model.budget.max_cost_usd=2").config.language_model, "model"
    )
    assert model.account.prices.prompt == 0.15
    assert OpenAIChat("gpt-4o-mini", ChatServer("http://localhost:8000/v1")).account.prices is None
    assert OpenAIChat("some-model").account.prices is None
