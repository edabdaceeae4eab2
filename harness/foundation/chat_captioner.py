"""Captions images with a vision-language model behind the chat-completions API."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import at_least
from ..files import fingerprint
from .captioners import cleaned
from .openai_chat import OpenAIChat

if TYPE_CHECKING:
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)
_FORMAT = 1  # version of the request; part of the fingerprint
_INSTRUCTION = "Describe this picture in one short, plain sentence. Answer with the sentence alone."


class ChatCaptioner:
    """Asks a chat model what an image shows; implements `protocols.Captioner`.

    Every image is one request, with the image as PNG in the message. Concurrency, retries and the cost
    limit are those of `chat`.

    Args:
        chat: the connection to a model that accepts images.
        instruction: the question about each image.
        largest_side: larger images are shrunk to this number of pixels.
        image_tokens: upper bound of the tokens that the server counts for an image, for the cost limit.
        batch_size: images that are sent, and cached, together.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        chat: OpenAIChat,
        instruction: str = _INSTRUCTION,
        *,
        largest_side: int = 512,
        image_tokens: int = 10_000,
        batch_size: int = 32,
    ) -> None:
        self.chat, self.instruction, self.name = chat, instruction, chat.name
        self.largest_side = at_least("captioner.largest_side", largest_side, 1)
        self.image_tokens = at_least("captioner.image_tokens", image_tokens, 1)
        self.batch_size = at_least("captioner.batch_size", batch_size, 1)

    def fingerprint(self) -> str:
        """Hash of the chat model, its settings, the instruction and the size of the images."""
        settings = [_FORMAT, self.instruction, self.largest_side]
        return fingerprint(["chat captioner", self.chat.fingerprint(), *settings])

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns one caption per image; an empty one, and a warning, if the model returned none.

        Raises:
            InputError: for errors that would affect every request; see `OpenAIChat`.
        """
        captions = [""] * len(images)
        # The tokens of an image do not follow from its bytes: each server counts them differently.
        bound = len(self.instruction.encode()) + self.image_tokens
        messages = [self._messages(image) for image in images]
        for index, reply in self.chat.complete(messages, [bound] * len(messages)):
            if reply.text is None:
                _LOG.warning("%s: an image has no caption: %s", self.name, reply.failure)
            captions[index] = cleaned(reply.text or "")
        return captions

    def _messages(self, image: Image) -> list[dict[str, Any]]:
        content = {"type": "image_url", "image_url": {"url": data_url(image, self.largest_side)}}
        question = {"type": "text", "text": self.instruction}
        return [{"role": "user", "content": [question, content]}]


def data_url(image: Image, largest_side: int) -> str:
    """Returns an image as a data URL that contains it as PNG."""
    rgb = image.convert("RGB")
    # `thumbnail` works in place; `convert` has returned a copy, also of an RGB image.
    rgb.thumbnail((largest_side, largest_side))
    file = io.BytesIO()
    rgb.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
