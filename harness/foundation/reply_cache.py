"""Caches replies of any language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..cache import Cache
from .conversations import positions
from .protocols import LanguageModel, Message, Reply

if TYPE_CHECKING:
    from .pricing import Account

_KIND = "replies"


class CachedLanguageModel:
    """A language model that answers each conversation once; itself a `LanguageModel`.

    The key of a reply is the conversation, the model's fingerprint and the sample. A reply is stored as
    soon as it arrives. Failures are not stored: the next run asks again. A cached reply costs nothing.

    Args:
        model: answers the conversations that are not in the cache.
        cache: the cache, shared by all runs.
    """

    def __init__(self, model: LanguageModel, cache: Cache) -> None:
        self.model, self.cache, self.name = model, cache, model.name

    @property
    def account(self) -> Account | None:
        """See `LanguageModel.account`."""
        return self.model.account

    @property
    def max_tokens(self) -> int | None:
        """See `LanguageModel.max_tokens`."""
        return self.model.max_tokens

    def fingerprint(self) -> str:
        """See `LanguageModel.fingerprint`."""
        return self.model.fingerprint()

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """See `LanguageModel.reply`. Cached replies come first; a new one is stored, then yielded."""
        indices = positions(conversations)
        keys = {conversation: self._key(conversation, sample) for conversation in indices}
        cached = {
            conversation: reply for conversation, key in keys.items() if (reply := self._cached(key))
        }
        for conversation, reply in cached.items():
            yield from ((index, reply) for index in indices[conversation])
        missing = [conversation for conversation in indices if conversation not in cached]
        # A model is not called for nothing: some open a connection first.
        for place, reply in self.model.reply(missing, sample) if missing else ():
            conversation = missing[place]
            if reply.failure is None:
                # Before the reply is yielded: the caller may stop there, and the reply is paid already.
                self.cache.put(_KIND, keys[conversation], asdict(reply))
            first, *others = indices[conversation]
            yield first, reply
            # Only one request was paid for.
            yield from ((index, replace(reply, cost_usd=0.0)) for index in others)

    def _key(self, conversation: Sequence[Message], sample: int) -> dict[str, Any]:
        turns = [[turn.role, turn.content] for turn in conversation]
        return {"model": self.fingerprint(), "conversation": turns, "sample": sample}

    def _cached(self, key: dict[str, Any]) -> Reply | None:
        value = self.cache.get(_KIND, key)
        try:
            reply = Reply(**value) if isinstance(value, dict) else None
        except TypeError:  # an entry with other fields: damaged, or written by another version
            return None
        return replace(reply, cost_usd=0.0) if reply and isinstance(reply.text, str) else None
