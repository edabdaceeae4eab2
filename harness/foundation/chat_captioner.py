"""A vision-language model behind the chat-completions API in the place of a captioner."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import fingerprint
from .captioners import cleaned
from .openai_chat import OpenAIChat

if TYPE_CHECKING:
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_INSTRUCTION = "Describe this picture in one short, plain sentence. Answer with the sentence alone."


class ChatCaptioner:
    """Asks a chat model what a picture shows; implements `protocols.Captioner`.

    Every picture is a request of its own, sent as PNG inside the message. Requests run concurrently, and
    are paced, retried and paid for as `chat` does it.

    Args:
        chat: the connection, with the model that sees.
        instruction: what is asked about each picture.
        largest_side: longer sides are shrunk to so many pixels.
        picture_tokens: what the server counts for a picture at most, for the cost limit.
        batch_size: pictures that are sent, and kept in a cache, together.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        chat: OpenAIChat,
        instruction: str = _INSTRUCTION,
        *,
        largest_side: int = 512,
        picture_tokens: int = 10_000,
        batch_size: int = 32,
    ) -> None:
        settings = {"largest_side": largest_side, "batch_size": batch_size}
        for setting, value in {**settings, "picture_tokens": picture_tokens}.items():
            if value < 1:
                raise InputError(f"captioner.{setting}={value} must be at least 1")
        self.chat, self.instruction, self.name = chat, instruction, chat.name
        self.largest_side, self.picture_tokens = largest_side, picture_tokens
        self.batch_size = batch_size

    def fingerprint(self) -> str:
        """Hash of the chat model, its settings, the instruction and the size of the pictures."""
        own = [_FORMAT, self.instruction, self.largest_side]
        return fingerprint(["chat captioner", self.chat.fingerprint(), *own])

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns one caption per picture; an empty one, and a warning, where the model gave none.

        Raises:
            InputError: what every request would suffer; see `OpenAIChat`.
        """
        captions = [""] * len(images)
        bound = len(self.instruction.encode()) + self.picture_tokens
        asked = [self._messages(image) for image in images]
        for index, reply in self.chat.complete(asked, [bound] * len(asked)):
            if reply.text is None:
                _LOG.warning("%s captioned no picture: %s", self.name, reply.failure)
            captions[index] = cleaned(reply.text or "")
        return captions

    def _messages(self, image: Image) -> list[dict[str, Any]]:
        picture = {"type": "image_url", "image_url": {"url": data_url(image, self.largest_side)}}
        question = {"type": "text", "text": self.instruction}
        return [{"role": "user", "content": [question, picture]}]


def data_url(image: Image, largest_side: int) -> str:
    """Returns a picture as the address of a PNG that holds it."""
    picture = image.convert("RGB")
    picture.thumbnail((largest_side, largest_side))
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
