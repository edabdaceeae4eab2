"""What methods and metrics need of foundation models; nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image


@runtime_checkable
class ImageTextEncoder(Protocol):
    """Embeds images and texts in one space (CLIP, SigLIP, ...)."""

    name: str

    def fingerprint(self) -> str:
        """Hash of weights, preprocessing and tokenizer."""
        ...

    def encode_images(self, images: Iterable[Image]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Images are consumed in batches, never all in memory."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Raw strings, no template."""
        ...


@runtime_checkable
class SentenceEncoder(Protocol):
    """Embeds sentences."""

    name: str

    def fingerprint(self) -> str:
        """Hash of the weights."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm."""
        ...


@runtime_checkable
class Captioner(Protocol):
    """Says in a sentence what a picture shows."""

    name: str

    def fingerprint(self) -> str:
        """Hash of the weights and of every setting that a caption depends on."""
        ...

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns one caption per picture; a caption does not depend on the other pictures."""
        ...


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class Reply:
    """What a language model answered.

    Attributes:
        text: the answer as it came; None if there is none.
        failure: why there is none.
        prompt_tokens: tokens of the question, as the server counts them (0 for local models).
        reply_tokens: tokens of the answer.
        cost_usd: what it cost (0 where nothing is paid).
    """

    text: str | None
    failure: str | None = None
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost_usd: float = 0.0


@runtime_checkable
class LanguageModel(Protocol):
    """Answers conversations."""

    name: str

    def fingerprint(self) -> str:
        """Hash of the model and of every setting that an answer depends on; never of a key."""
        ...

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """Yields (index, reply) for every conversation as the answers come, in any order.

        Equal conversations of one call are answered once. `sample` counts the answers to a conversation:
        a seeded model says the same in the same sample, and may say something else in another.
        """
        ...


@runtime_checkable
class ImageGenerator(Protocol):
    """Draws what a text says."""

    name: str

    def fingerprint(self) -> str:
        """Hash of the weights and of every setting that a picture depends on beside prompt and seed."""
        ...

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image]:
        """Yields one picture per (prompt, seed), in order; none depends on the others."""
        ...
