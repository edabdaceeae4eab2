"""Interfaces of the foundation models that methods and metrics use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

    from .pricing import Account


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
        """Hash of weights, configuration and tokenizer."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm."""
        ...


@runtime_checkable
class Captioner(Protocol):
    """Describes images in a sentence.

    Attributes:
        name: name in records and tables.
        batch_size: images that are captioned, and cached, together.
    """

    name: str
    batch_size: int

    def fingerprint(self) -> str:
        """Hash of the weights and of every setting that a caption depends on."""
        ...

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns one caption per image; a caption does not depend on the other images."""
        ...


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class Reply:
    """Reply of a language model.

    Attributes:
        text: the unchanged text; None if there is none.
        failure: the reason why there is no text.
        prompt_tokens: tokens of the conversation, as counted by the server (0 for local models).
        reply_tokens: tokens of the reply.
        cost_usd: cost of the reply (0 for models that cost nothing).
    """

    text: str | None
    failure: str | None = None
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost_usd: float = 0.0


@runtime_checkable
class LanguageModel(Protocol):
    """Replies to conversations."""

    name: str

    @property
    def account(self) -> Account | None:
        """Tokens, cost and prices of a paid model; None for a model that costs nothing."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """Maximum length of a reply in tokens; None if there is none."""
        ...

    def fingerprint(self) -> str:
        """Hash of the model and of every setting that a reply depends on; never of a key."""
        ...

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """Yields (index, reply) for every conversation as the replies arrive, in any order.

        Equal conversations of one call are answered once. `sample` numbers the replies to a conversation:
        a seeded model gives the same reply in the same sample, and possibly another one in another.
        """
        ...


@runtime_checkable
class ImageGenerator(Protocol):
    """Generates images from texts."""

    name: str

    def fingerprint(self) -> str:
        """Hash of the weights and of every setting that an image depends on, besides prompt and seed."""
        ...

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image]:
        """Yields one image per (prompt, seed), in order; no image depends on the others."""
        ...
