"""One connection to a server of the chat-completions API: attempts, waits, and what answers mean."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .pricing import Account
from .protocols import Reply
from .rate_limits import Gate, reset_after, retry_after

if TYPE_CHECKING:
    import openai

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; doubled at each retry
LONGEST_SERVER_WAIT = 600.0  # what a server may ask for before the run is better ended
_TRY_AGAIN = {408, 409, 425, 429}
_FILTERED = {"content_filter", "content_policy_violation"}
_TOO_LONG = {"context_length_exceeded", "string_above_max_length"}
_SHOWN = 300  # characters of what a server says


class Stopped(Exception):  # noqa: N818 - no error: another thread ended the batch
    """The batch is being ended; this request was not answered."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        body: the arguments of the API.
        prompt_bound: tokens that its prompt cannot exceed.
        reply_bound: tokens that its reply cannot exceed.
        name: what tells it from other requests; seeds the jitter of its waits.
    """

    body: Mapping[str, Any]
    prompt_bound: int
    reply_bound: int
    name: str


@dataclass(frozen=True)
class Trouble:
    """Why an attempt gave no reply although the next one may.

    Attributes:
        reason: in words.
        wait: the seconds that the server asked for.
        unreachable: no connection came about.
    """

    reason: str
    wait: float | None = None
    unreachable: bool = False


@dataclass(frozen=True)
class Session:
    """Asks one server, from several threads.

    Attributes:
        client: of the openai package, with its own retries off.
        account: of tokens and money.
        max_retries: attempts after the first one.
        key: the secret, blotted out of whatever a server says.
        key_hint: what to mend where the key is refused; without the key.
        server: what it is called in messages.
        sleep: waits some seconds; None: in a way that `stop` ends.
    """

    client: openai.OpenAI
    account: Account
    max_retries: int
    key: str = field(repr=False)
    key_hint: str
    server: str
    sleep: Callable[[float], None] | None = None
    gate: Gate = field(default_factory=Gate)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, request: Request) -> Reply:
        """Returns the answer, or a reply with the failure that remained after all retries.

        Raises:
            InputError: what would befall every other request too; says what to mend.
            Stopped: if `stop` was set before the answer came.
        """
        jitter = random.Random(request.name)
        own_wait = 0.0
        trouble = Trouble("not tried")
        for attempt in range(self.max_retries + 1):
            self._wait(max(own_wait, self.gate.remaining()))
            outcome = self._attempt(request)
            if isinstance(outcome, Reply):
                return outcome
            trouble = outcome
            own_wait = self._next_wait(trouble, attempt, jitter)
        if trouble.unreachable:
            raise InputError(
                f"cannot reach the language model at {self.server}",
                "check language_model.base_url and the network; is the server running?",
            )
        return Reply(None, f"{trouble.reason} ({self.max_retries + 1} tries)")

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            (self.sleep or self.stop.wait)(seconds)
        if self.stop.is_set():
            raise Stopped

    def _next_wait(self, trouble: Trouble, attempt: int, jitter: random.Random) -> float:
        """Returns what the server asks for, else doubling waits; spread, lest all come at once."""
        if trouble.wait is None:
            return min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * jitter.uniform(0.5, 1.0)
        if trouble.wait > LONGEST_SERVER_WAIT:
            raise InputError(
                f"the language model at {self.server} wants to be left alone for {trouble.wait:.0f} s",
                "run the same command again then: no reply is asked twice",
            )
        self.gate.close(trouble.wait)
        return trouble.wait * jitter.uniform(1.0, 1.1)

    def _attempt(self, request: Request) -> Reply | Trouble:
        import openai

        reserved = self.account.reserve(request.prompt_bound, request.reply_bound)
        cost = reserved  # what may have been charged, until it is known better
        refusal: openai.APIStatusError | None = None
        try:
            raw = self.client.chat.completions.with_raw_response.create(**request.body)
            self.gate.close(min(reset_after(raw.headers), LONGEST_WAIT))
            outcome = self._read(raw.parse(), reserved)
            cost = outcome.cost_usd if isinstance(outcome, Reply) else reserved
            return outcome
        except openai.APITimeoutError:
            return Trouble("no answer in time")
        except openai.APIConnectionError as error:
            unreachable = type(error.__cause__).__name__ == "ConnectError"
            cost = 0.0 if unreachable else reserved
            return Trouble("the connection broke", unreachable=unreachable)
        except openai.APIStatusError as error:
            cost, refusal = 0.0, error
        except ValueError:  # of the JSON parser
            return Trouble("the answer was not whole")
        finally:
            self.account.settle(reserved, cost)
        # Out of the handler, so that the error raised there does not carry the server's words along.
        return self._refused(refusal)

    def _read(self, completion: Any, reserved: float) -> Reply | Trouble:
        """Reads an answer; the library does not check that it has the form it should have."""
        try:
            choice = completion.choices[0]
            text, refusal = choice.message.content, getattr(choice.message, "refusal", None)
            reason = choice.finish_reason
        except (AttributeError, IndexError, TypeError):
            return Trouble("the answer had no choices")
        reply = self._with_usage(getattr(completion, "usage", None), reserved)
        if refusal or reason == "content_filter":
            said = f": {self._shown(refusal)}" if refusal else " by the server's content filter"
            return replace(reply, failure=f"refused{said}")
        if not isinstance(text, str) or not text.strip():
            return replace(reply, failure=f"the reply has no text (it ended by {reason!r})")
        return replace(reply, text=self._without_key(text))

    def _with_usage(self, usage: Any, reserved: float) -> Reply:
        """Returns a reply without text, with its tokens and cost; the upper bound where none are told."""
        prompt = getattr(usage, "prompt_tokens", None)
        answer = getattr(usage, "completion_tokens", None)
        if not isinstance(prompt, int) or not isinstance(answer, int):
            self.account.count(0, 0)
            return Reply(None, cost_usd=reserved)
        self.account.count(prompt, answer)
        prices = self.account.prices
        return Reply(None, None, prompt, answer, prices.cost(prompt, answer) if prices else 0.0)

    def _refused(self, error: openai.APIStatusError) -> Reply | Trouble:
        """What an error status means: try again, a failure of this request, or something to mend."""
        status, kinds = error.status_code, {error.code, error.type}
        if status == 402 or "insufficient_quota" in kinds:
            raise InputError(
                f"the quota of the account at {self.server} is used up",
                "add credit, then run the same command again: no reply is asked twice",
            )
        if status in _TRY_AGAIN or status >= 500:
            what = "too many requests" if status == 429 else f"the server answered {status}"
            headers = error.response.headers
            return Trouble(what, retry_after(headers) or reset_after(headers) or None)
        if kinds & _FILTERED:
            return Reply(None, "refused by the server's content filter")
        if kinds & _TOO_LONG:
            return Reply(None, "the conversation is too long for the model")
        raise self._to_mend(status, self._shown(_message(error)))

    def _to_mend(self, status: int, said: str) -> InputError:
        if status in (401, 403):  # without what the server says: it may quote a part of the key
            return InputError(f"the server at {self.server} refuses access ({status})", self.key_hint)
        if status == 404:
            return InputError(
                f"the server at {self.server} has no such model or path (404): {said}",
                "check language_model.model, and language_model.base_url (it often ends in /v1)",
            )
        return InputError(
            f"the server at {self.server} refuses the request ({status}): {said}",
            "check the settings of language_model; a model may not know one of them",
        )

    def _shown(self, text: object) -> str:
        return " ".join(self._without_key(str(text)).split())[:_SHOWN]

    def _without_key(self, text: str) -> str:
        return text.replace(self.key, "[key]") if self.key else text


def _message(error: openai.APIStatusError) -> object:
    """The server's own words, without what the library puts around them."""
    return error.body.get("message", "") if isinstance(error.body, dict) else error.message
