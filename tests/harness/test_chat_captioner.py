"""Captions from a vision-language model: the real client with a local server."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from chat_server import ChatServer, completion
from PIL import Image

from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation.caption_cache import cached_captions
from dissectbench.harness.foundation.chat_captioner import ChatCaptioner
from dissectbench.harness.foundation.chat_settings import ChatServer as ServerSettings
from dissectbench.harness.foundation.chat_settings import Sampling
from dissectbench.harness.foundation.openai_chat import OpenAIChat
from dissectbench.harness.foundation.pricing import Budget, CostLimitError
from dissectbench.harness.foundation.protocols import Captioner


class Seeing(ChatServer):
    """Answers with the size and the first pixel of the received image; refuses black images."""

    def __init__(self) -> None:
        super().__init__(self.look)
        self.requests: list[dict[str, Any]] = []

    def look(self, body: dict[str, Any], headers: Any) -> Any:
        del headers
        self.requests.append(body)
        _, content = body["messages"][0]["content"]
        data = content["image_url"]["url"].removeprefix("data:image/png;base64,")
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        pixel: Any = image.getpixel((0, 0))
        if not any(pixel):
            return completion({"content": None, "refusal": "too dark"}, 100, 10)
        return completion(f" a {image.size}  of {pixel} . ", 100, 10)


@pytest.fixture
def server() -> Iterator[Seeing]:
    server = Seeing()
    with server.listening():
        yield server


def captioner(server: Seeing, chat: dict[str, Any] | None = None, **settings: Any) -> ChatCaptioner:
    return ChatCaptioner(OpenAIChat("sees", ServerSettings(server.url), **(chat or {})), **settings)


def images() -> list[Image.Image]:
    return [Image.new("RGB", (20 + i, 10), (i + 1, 0, 0)) for i in range(5)]


def test_every_image_gets_its_own_caption(server: Seeing) -> None:
    sees = captioner(server)
    assert isinstance(sees, Captioner)
    assert sees.caption(images()) == [f"a ({20 + i}, 10) of ({i + 1}, 0, 0)." for i in range(5)]
    assert sees.caption([]) == []
    assert len(server.requests) == 5


def test_large_images_are_shrunk_in_a_copy(server: Seeing) -> None:
    large = Image.new("RGB", (400, 200), (9, 9, 9))
    assert captioner(server, largest_side=100).caption([large]) == ["a (100, 50) of (9, 9, 9)."]
    assert large.size == (400, 200)


def test_a_refusal_gives_an_empty_caption_that_is_not_cached(
    server: Seeing, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dark_and_light = [Image.new("RGB", (8, 8), (0, 0, 0)), *images()[:1]]
    first = cached_captions(captioner(server), dark_and_light, Cache(tmp_path))
    assert first == ["", "a (20, 10) of (1, 0, 0)."]
    assert "too dark" in caplog.text
    assert cached_captions(captioner(server), dark_and_light, Cache(tmp_path)) == first
    assert len(server.requests) == 3


def test_the_cost_limit_counts_the_tokens_of_images(server: Seeing) -> None:
    limit = {"budget": Budget(max_cost_usd=0.05, prices=[1.0, 1.0])}
    with pytest.raises(CostLimitError):
        captioner(server, limit, image_tokens=100_000).caption(images())
    assert server.requests == []


def test_the_fingerprint_covers_instruction_size_and_sampling(server: Seeing) -> None:
    prints = {
        captioner(server).fingerprint(),
        captioner(server, instruction="Name it.").fingerprint(),
        captioner(server, largest_side=100).fingerprint(),
        captioner(server, {"sampling": Sampling(temperature=0.0)}).fingerprint(),
    }
    assert len(prints) == 4
    assert captioner(server, batch_size=2).fingerprint() in prints


def test_the_error_names_a_setting_out_of_range(server: Seeing) -> None:
    with pytest.raises(InputError, match=r"captioner\.largest_side=0"):
        captioner(server, largest_side=0)
