"""Replies of language models, kept the moment they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..cache import Cache
from .conversations import positions
from .protocols import LanguageModel, Message, Reply

_KIND = "replies"


class CachedLanguageModel:
    """A language model that is asked only what it has not answered yet; itself a `LanguageModel`.

    A reply is named by the conversation, the model's fingerprint and the sample. Failures are not kept:
    they are tried again by the next run. A reply from the cache costs nothing.

    Args:
        model: who answers what is not in the cache.
        cache: where replies live, shared by all runs.
    """

    def __init__(self, model: LanguageModel, cache: Cache) -> None:
        self.model, self.cache, self.name = model, cache, model.name

    def fingerprint(self) -> str:
        """See `LanguageModel.fingerprint`."""
        return self.model.fingerprint()

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """See `LanguageModel.reply`: known replies come first; a new one is kept before it is yielded."""
        groups = positions(conversations)
        keys = {asked: self._key(asked, sample) for asked in groups}
        known = {asked: reply for asked, key in keys.items() if (reply := self._known(key))}
        for asked, reply in known.items():
            yield from ((index, reply) for index in groups[asked])
        missing = [asked for asked in groups if asked not in known]
        for place, reply in self.model.reply(missing, sample) if missing else ():
            asked = missing[place]
            if reply.failure is None:
                self.cache.put(_KIND, keys[asked], asdict(reply))
            first, *others = groups[asked]
            yield first, reply
            yield from ((index, replace(reply, cost_usd=0.0)) for index in others)

    def _key(self, conversation: Sequence[Message], sample: int) -> dict[str, Any]:
        turns = [[turn.role, turn.content] for turn in conversation]
        return {"model": self.fingerprint(), "conversation": turns, "sample": sample}

    def _known(self, key: dict[str, Any]) -> Reply | None:
        value = self.cache.get(_KIND, key)
        try:
            reply = Reply(**value) if isinstance(value, dict) else None
        except TypeError:  # not what was put there
            return None
        return replace(reply, cost_usd=0.0) if reply and isinstance(reply.text, str) else None
