"""Prompts of Describe-and-Dissect: readable text files that are filled with captions.

A file contains the turns of a conversation, each after a line [system], [user] or [assistant].
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from ...harness.files import fingerprint
from ...harness.foundation.protocols import Message

_FOLDER = Path(__file__).with_name("prompts")
_TURN = re.compile(r"^\[(user|assistant|system)\]\n", re.MULTILINE)


def simplify(caption: str) -> list[Message]:
    """Asks for one caption in a few words; the example contains a caption that repeats itself."""
    return _filled("simplify", captions=_bullets([caption]))


def summarise(captions: Sequence[str]) -> list[Message]:
    """Asks for the one concept that most captions share.

    The first example has an outlier to be ignored; in the second one, the captions share only an
    attribute.

    Args:
        captions: one or more; their order may change the answer.
    """
    return _filled("summarise", captions=_bullets(captions))


def retry(request: Sequence[Message], reply: str, problem: str) -> list[Message]:
    """Continues a conversation after an unusable reply, with what was wrong with it."""
    return [*request, Message("assistant", reply), *_filled("again", problem=problem)]


def prompts_fingerprint() -> str:
    """Hash of all prompts, for the identity of descriptions that depend on them."""
    names = ("simplify", "summarise", "again")
    return fingerprint([[[turn.role, turn.content] for turn in _template(name)] for name in names])


def _bullets(captions: Sequence[str]) -> str:
    """Formats captions as one line each; line breaks inside become spaces."""
    if isinstance(captions, str):
        raise TypeError(f"captions must be a list of strings, not the string {captions!r}")
    return "\n".join(f"- {' '.join(caption.split())}" for caption in captions)


def _filled(name: str, **values: str) -> list[Message]:
    *before, last = _template(name)
    text = last.content
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return [*before, Message(last.role, text)]


@functools.cache
def _template(name: str) -> tuple[Message, ...]:
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    parts = _TURN.split(text)[1:]
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(role, content.strip()) for role, content in turns)
