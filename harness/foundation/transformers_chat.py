"""Chat models of transformers, on this machine."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..devices import resolve
from ..errors import InputError
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest, with_commit, with_revision
from .conversations import positions, seed_of
from .protocols import Message, Reply
from .text_models import display_name, loading

if TYPE_CHECKING:
    import torch

_FORMAT = 1
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


class TransformersChat:
    """Asks a chat model of transformers; implements `protocols.LanguageModel`.

    Nothing is read before the first use. Every conversation is sampled with a seed of its own, so that
    a reply does not depend on the conversations answered with it.

    Args:
        model: a folder, `package:<package>/<path>` or a hub name of a causal model with a chat template.
        device: see `devices.resolve`.
        batch_size: conversations at once.
        max_new_tokens: of a reply.
        temperature: of sampling; 0: always the likeliest token.
        seed: of sampling.
        precision: "fp32", "fp16" or "bf16"; in the latter two, the size of a batch can tip a close draw.
        revision: branch, tag or commit on the Hub; None: main. For Hub models only.
        name: what it is called in records and tables; by default the last part of `model`.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        model: str = "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        *,
        device: str = "auto",
        batch_size: int = 8,
        max_new_tokens: int = 64,
        temperature: float = 0.3,
        seed: int = 0,
        precision: Literal["fp32", "fp16", "bf16"] = "fp32",
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        if precision not in _DTYPES:
            raise InputError(f"language_model.precision={precision} is unknown", "use fp32, fp16 or bf16")
        for setting, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise InputError(f"language_model.{setting}={value} must be at least 1")
        if temperature < 0:
            raise InputError(f"language_model.temperature={temperature} must not be negative")
        self.model, self.device, self.batch_size = model, device, batch_size
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self.precision, self.revision = precision, revision
        self.name = name or with_revision(display_name(model), model, revision)

    @functools.cached_property
    def _folder(self) -> Path:
        return snapshot(self.model, revision=self.revision)

    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, chat template, precision and sampling."""
        sampling = [self.max_new_tokens, self.temperature, self.seed]
        weights, settings = weights_digest(self._folder), settings_digest(self._folder)
        parts = ["transformers chat", _FORMAT, weights, settings, self.precision, *sampling]
        return with_commit(fingerprint(parts), self._folder)

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """See `LanguageModel.reply`.

        Raises:
            InputError: if the model cannot be had or read, or has no chat template.
        """
        groups = positions(conversations)
        if not groups:
            return
        tokenizer, model = _load(self._folder, str(resolve(self.device)), self.precision)
        prompts = {asked: _prompt(tokenizer, asked) for asked in groups}
        by_length = sorted(groups, key=lambda asked: len(prompts[asked]))  # little padding
        room = _context(model) - self.max_new_tokens
        fitting = [asked for asked in by_length if len(prompts[asked]) <= room]
        for asked in by_length[len(fitting) :]:
            failure = f"the conversation has {len(prompts[asked])} tokens, the model reads {room}"
            yield from ((index, Reply(None, failure)) for index in groups[asked])
        for start in range(0, len(fitting), self.batch_size):
            batch = fitting[start : start + self.batch_size]
            seeds = [seed_of(asked, self.seed, sample) for asked in batch]
            texts = self._generate(tokenizer, model, [prompts[asked] for asked in batch], seeds)
            for asked, text in zip(batch, texts, strict=True):
                reply = Reply(text) if text else Reply(None, "the reply has no text")
                yield from ((index, reply) for index in groups[asked])

    def _generate(
        self, tokenizer: Any, model: Any, prompts: list[list[int]], seeds: list[int]
    ) -> list[str]:
        import torch
        from transformers import GenerationConfig

        inputs = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        noise = [_Noise(seeds, self.temperature)] if self.temperature else []
        settings = GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            do_sample=False,  # sampling is the noise's: generate() draws for the whole batch at once
            eos_token_id=model.generation_config.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            tokens = model.generate(
                **inputs.to(model.device), generation_config=settings, logits_processor=noise
            )
        replies = tokens[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [text.strip() for text in texts]


class _Noise:
    """Samples each row by its own generator: the largest logit plus Gumbel noise is a draw of softmax.

    A processor of logits, called by `generate` at every step with [rows, vocabulary].
    """

    def __init__(self, seeds: Sequence[int], temperature: float) -> None:
        import torch

        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        uniform = torch.stack(
            [
                torch.rand(scores.shape[1], generator=generator, dtype=torch.float64)
                for generator in self.generators
            ]
        )
        gumbel = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
        return scores.double() / self.temperature + gumbel.to(scores.device)


@functools.cache
def _load(folder: Path, device: str, precision: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with loading(folder, report=True):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, _DTYPES[precision])
        )
    if not tokenizer.chat_template:
        raise InputError(
            f"{folder} holds no chat model: its tokenizer has no chat template",
            "give a model that was trained to converse (its name often ends in Instruct or Chat)",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model.to(device).eval().requires_grad_(False)


def _prompt(tokenizer: Any, conversation: Sequence[Message]) -> list[int]:
    turns = [{"role": turn.role, "content": turn.content} for turn in conversation]
    tokens = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    return list(tokens)


def _context(model: Any) -> int:
    return getattr(model.config, "max_position_embeddings", None) or 1 << 30
