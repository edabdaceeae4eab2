"""A vision-language model as a captioner: the real client against a server on this machine."""

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
from dissectbench.harness.foundation.openai_chat import OpenAIChat
from dissectbench.harness.foundation.pricing import CostLimitError
from dissectbench.harness.foundation.protocols import Captioner


class Seeing(ChatServer):
    """Answers with the size and the first pixel of the picture it was sent; refuses black ones."""

    def __init__(self) -> None:
        super().__init__(self.look)
        self.asked: list[dict[str, Any]] = []

    def look(self, body: dict[str, Any], headers: Any) -> Any:
        del headers
        self.asked.append(body)
        _, picture = body["messages"][0]["content"]
        data = picture["image_url"]["url"].removeprefix("data:image/png;base64,")
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
    return ChatCaptioner(OpenAIChat("sees", server.url, **(chat or {})), **settings)


def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (20 + i, 10), (i + 1, 0, 0)) for i in range(5)]


def test_every_picture_gets_its_own_caption(server: Seeing) -> None:
    sees = captioner(server)
    assert isinstance(sees, Captioner)
    assert sees.caption(pictures()) == [f"a ({20 + i}, 10) of ({i + 1}, 0, 0)." for i in range(5)]
    assert sees.caption([]) == []
    assert len(server.asked) == 5


def test_large_pictures_are_shrunk_and_the_callers_stay_as_they_are(server: Seeing) -> None:
    large = Image.new("RGB", (400, 200), (9, 9, 9))
    assert captioner(server, largest_side=100).caption([large]) == ["a (100, 50) of (9, 9, 9)."]
    assert large.size == (400, 200)


def test_a_refusal_leaves_the_caption_empty_and_is_not_kept(
    server: Seeing, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shown = [Image.new("RGB", (8, 8), (0, 0, 0)), *pictures()[:1]]
    first = cached_captions(captioner(server), shown, Cache(tmp_path))
    assert first == ["", "a (20, 10) of (1, 0, 0)."]
    assert "too dark" in caplog.text
    assert cached_captions(captioner(server), shown, Cache(tmp_path)) == first
    assert len(server.asked) == 3


def test_the_cost_limit_counts_the_pictures(server: Seeing) -> None:
    limit: dict[str, Any] = {"prices": [1.0, 1.0], "max_cost_usd": 0.05}
    with pytest.raises(CostLimitError):
        captioner(server, limit, picture_tokens=100_000).caption(pictures())
    assert server.asked == []


def test_instruction_and_size_are_in_the_fingerprint(server: Seeing) -> None:
    prints = {
        captioner(server).fingerprint(),
        captioner(server, instruction="Name it.").fingerprint(),
        captioner(server, largest_side=100).fingerprint(),
        captioner(server, {"temperature": 0.0}).fingerprint(),
    }
    assert len(prints) == 4
    assert captioner(server, batch_size=2).fingerprint() in prints


def test_a_setting_out_of_range_is_named(server: Seeing) -> None:
    with pytest.raises(InputError, match=r"captioner\.largest_side=0"):
        captioner(server, largest_side=0)
