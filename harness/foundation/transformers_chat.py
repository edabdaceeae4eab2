"""Chat models of transformers, run on this machine."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..devices import resolve
from ..errors import InputError, at_least, one_of
from ..files import fingerprint
from ..fixed_batches import batch_rows, batches_by_shape
from ..weights import settings_digest, snapshot, weights_digest, with_commit
from .chat_settings import Sampling
from .conversations import positions, seed_of
from .loading import loading
from .precision import DTYPES, Precision
from .protocols import Message, Reply
from .text_models import NEEDS, display_name

if TYPE_CHECKING:
    import torch

_FORMAT = 1  # version of the sampling; part of the fingerprint
_LENGTH_STEP = 32  # tokens; most prompts of one template differ by less, so that most batches are full


class TransformersChat:
    """Asks a chat model of transformers; implements `protocols.LanguageModel`.

    The model is loaded at its first use. Every conversation is sampled with its own seed, and computed in
    a shape that depends on its own length, so that a reply does not depend on the other conversations.

    Args:
        model: a folder, `package:<package>/<path>` or a Hub name of a causal model with a chat template.
        sampling: how replies are sampled; temperature and seed must be numbers.
        device: see `devices.resolve`.
        batch_size: conversations per forward pass on a GPU; see `fixed_batches.batch_rows`.
        precision: "fp32", "fp16" or "bf16"; with the latter two, the rounding in a batch of another size
            on a GPU may change which token is sampled.
        revision: branch, tag or commit on the Hub; None: main. Only for models on the Hub.
        name: name in records and tables; None: the last part of `model`.

    Attributes:
        account: None: the model costs nothing.
        max_tokens: maximum length of a reply.

    Raises:
        InputError: if a setting is out of range.
    """

    account = None

    def __init__(
        self,
        model: str,
        *,
        sampling: Sampling | None = None,
        device: str = "auto",
        batch_size: int = 8,
        precision: Precision = "fp32",
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        self.model, self.device, self.revision = model, device, revision
        self.sampling = sampling or Sampling(seed=0)
        for setting, value in (("temperature", self.sampling.temperature), ("seed", self.sampling.seed)):
            if value is None:
                raise InputError(
                    f"language_model.sampling.{setting} is null",
                    "give a number: only servers have defaults of their own",
                )
        self.max_tokens = self.sampling.max_tokens
        self.batch_size = at_least("language_model.batch_size", batch_size, 1)
        self.precision = one_of("language_model.precision", precision, DTYPES)
        self.name = name or display_name(model, revision)

    @functools.cached_property
    def _folder(self) -> Path:
        return snapshot(self.model, revision=self.revision)

    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, chat template, precision and sampling."""
        sampling = [self.sampling.max_tokens, self.sampling.temperature, self.sampling.seed]
        weights, settings = weights_digest(self._folder), settings_digest(self._folder)
        parts = ["transformers chat", _FORMAT, weights, settings, self.precision, *sampling]
        return with_commit(fingerprint(parts), self._folder)

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """See `LanguageModel.reply`.

        Raises:
            InputError: if the model cannot be found, downloaded or read, or has no chat template.
        """
        indices = positions(conversations)
        if not indices:
            return
        device = resolve(self.device)
        tokenizer, model = _load(self._folder, str(device), self.precision)
        prompts = {conversation: _prompt(tokenizer, conversation) for conversation in indices}
        # Prompt and reply share the positions of the model.
        limit = _context(model) - self.max_tokens
        for conversation, prompt in prompts.items():
            if len(prompt) > limit:
                failure = f"the conversation has {len(prompt)} tokens, the limit is {limit}"
                yield from ((index, Reply(None, failure)) for index in indices[conversation])
        fitting = [conversation for conversation in indices if len(prompts[conversation]) <= limit]
        rows = batch_rows(device, self.batch_size)
        for batch, count in batches_by_shape(fitting, lambda turns: _padded(len(prompts[turns])), rows):
            seeds = [seed_of(conversation, self.sampling.seed or 0, sample) for conversation in batch]
            texts = self._generate(tokenizer, model, [prompts[turns] for turns in batch], seeds)
            for conversation, text in zip(batch[:count], texts, strict=False):
                reply = Reply(text) if text else Reply(None, "the reply has no text")
                yield from ((index, reply) for index in indices[conversation])

    def _generate(
        self, tokenizer: Any, model: Any, prompts: list[list[int]], seeds: list[int]
    ) -> list[str]:
        import torch
        from transformers import GenerationConfig

        # Padding on the left, because generation continues at the right end of every row.
        inputs = tokenizer.pad(
            {"input_ids": prompts},
            padding="max_length",
            max_length=_padded(len(prompts[0])),
            padding_side="left",
            return_tensors="pt",
        )
        temperature = self.sampling.temperature
        noise = [_Noise(seeds, temperature)] if temperature else []
        settings = GenerationConfig(
            max_new_tokens=self.max_tokens,
            do_sample=False,  # _Noise samples: generate() would use one generator for the whole batch
            # A chat model may end a turn with several tokens; the tokenizer names only one of them.
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
    """Samples each row with its own generator, by the Gumbel-max trick.

    The token with the largest sum of logit and Gumbel noise is a sample of the softmax distribution.
    A logits processor, called by `generate` at every step with scores [rows, vocabulary].
    """

    def __init__(self, seeds: Sequence[int], temperature: float) -> None:
        import torch

        # On the CPU, so that the noise is the same on every device.
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        # One generator per row, so that a row's noise does not depend on the other rows.
        uniform = torch.stack(
            [
                torch.rand(scores.shape[1], generator=generator, dtype=torch.float64)
                for generator in self.generators
            ]
        )
        # float64, and no zeros: the logarithm of 0 would choose no token.
        gumbel = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
        return scores.double() / self.temperature + gumbel.to(scores.device)


@functools.cache
def _load(folder: Path, device: str, precision: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with loading(folder, "a chat model", needs=NEEDS):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, DTYPES[precision]))
    if not tokenizer.chat_template:
        raise InputError(
            f"the model in {folder} is not a chat model: its tokenizer has no chat template",
            "give a model trained for conversations (its name often ends in Instruct or Chat)",
        )
    if tokenizer.pad_token_id is None:  # padding is masked, so any token serves
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model.to(device).eval().requires_grad_(False)


def _prompt(tokenizer: Any, conversation: Sequence[Message]) -> list[int]:
    turns = [{"role": turn.role, "content": turn.content} for turn in conversation]
    # return_dict: transformers 5 returns a mapping by default, not the token ids.
    tokens = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    return list(tokens)


def _padded(length: int) -> int:
    """Returns the length to which a prompt is padded; always longer than the prompt.

    Without padding in the whole batch, transformers omits the attention mask, which selects another
    kernel. With padding in every prompt there is always a mask.
    """
    return (length // _LENGTH_STEP + 1) * _LENGTH_STEP


def _context(model: Any) -> int:
    """Returns the number of tokens that a model can read; 2^30 if its configuration names no limit."""
    return getattr(model.config, "max_position_embeddings", None) or 1 << 30
