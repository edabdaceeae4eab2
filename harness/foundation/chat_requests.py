"""Sends requests to a server of the chat-completions API: concurrency, retries, waits and errors."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .pricing import Account
from .protocols import Reply
from .rate_limits import Gate, reset_after, retry_after

if TYPE_CHECKING:
    import openai

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; doubled at each retry
LONGEST_SERVER_WAIT = 600.0  # if a server asks for more, the run ends instead
# Request timeout, conflict, too early, too many requests; all statuses from 500 are repeated, too.
_TRY_AGAIN = {408, 409, 425, 429}
_FILTERED = {"content_filter", "content_policy_violation"}
_TOO_LONG = {"context_length_exceeded", "string_above_max_length"}
_SHOWN = 300  # characters of a server's message that are printed


class Stopped(Exception):  # noqa: N818 - not an error: another thread ended the batch
    """The batch is ending; this request was not answered."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        body: arguments of the API.
        prompt_bound: upper bound of the prompt's tokens.
        reply_bound: upper bound of the reply's tokens.
        name: identifies the request; seeds the jitter of its waits.
    """

    body: Mapping[str, Any]
    prompt_bound: int
    reply_bound: int
    name: str


@dataclass(frozen=True)
class FailedAttempt:
    """An attempt without a reply, which may be repeated.

    Attributes:
        reason: text for the user.
        wait: seconds that the server asked for.
        unreachable: whether no connection was established.
    """

    reason: str
    wait: float | None = None
    unreachable: bool = False


@dataclass(frozen=True)
class Session:
    """Sends requests to one server; thread-safe.

    Attributes:
        client: client of the openai package, without its own retries.
        account: tokens and cost.
        max_retries: attempts after the first one.
        key: the secret; removed from all messages of the server.
        key_hint: what to do if the key is refused; does not contain the key.
        server: address of the server, for messages.
        sleep: waits for a number of seconds; None: a wait that `stop` interrupts.
        gate: pauses all threads when the server asks for it.
        stop: set when the batch ends early.
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
        """Returns the reply, or a reply with the failure that remained after all retries.

        Raises:
            InputError: for errors that would affect every other request, too.
            Stopped: if `stop` was set before the reply arrived.
        """
        # Seeded by the request, so that waits differ between threads and are the same in a repetition.
        jitter = random.Random(request.name)
        next_wait = 0.0
        failed = FailedAttempt("not tried")
        for attempt in range(self.max_retries + 1):
            # The gate also before the first attempt: another thread may have been asked to wait.
            self._wait(max(next_wait, self.gate.remaining()))
            outcome = self._attempt(request)
            if isinstance(outcome, Reply):
                return outcome
            failed = outcome
            next_wait = self._next_wait(failed, attempt, jitter)
        if failed.unreachable:
            raise InputError(
                f"cannot reach the language model at {self.server}",
                "check language_model.server.base_url and the network; is the server running?",
            )
        return Reply(None, f"{failed.reason} ({self.max_retries + 1} tries)")

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            (self.sleep or self.stop.wait)(seconds)
        if self.stop.is_set():
            raise Stopped

    def _next_wait(self, failed: FailedAttempt, attempt: int, jitter: random.Random) -> float:
        """Returns the wait that the server asks for, else doubling waits.

        Both are randomised, so that the waiting threads do not send their requests at the same moment.
        """
        if failed.wait is None:
            return min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * jitter.uniform(0.5, 1.0)
        if failed.wait > LONGEST_SERVER_WAIT:
            raise InputError(
                f"the language model at {self.server} asks to wait for {failed.wait:.0f} s",
                "rerun the command after that time: replies are cached, no request is sent twice",
            )
        self.gate.close(failed.wait)
        # Never shorter than the server asked for: it would refuse the request again.
        return failed.wait * jitter.uniform(1.0, 1.1)

    def _attempt(self, request: Request) -> Reply | FailedAttempt:
        import openai

        reserved = self.account.reserve(request.prompt_bound, request.reply_bound)
        cost = reserved  # until the real cost is known: a lost reply may have been charged
        refusal: openai.APIStatusError | None = None
        try:
            raw = self.client.chat.completions.with_raw_response.create(**request.body)
            # An answered request may have used up the limit: the next one would be refused.
            self.gate.close(min(reset_after(raw.headers), LONGEST_WAIT))
            outcome = self._read(raw.parse(), reserved)
            cost = outcome.cost_usd if isinstance(outcome, Reply) else reserved
            return outcome
        except openai.APITimeoutError:
            return FailedAttempt("no reply in time")
        except openai.APIConnectionError as error:
            # ConnectError of httpx: the request was not sent, so that it cannot have been charged.
            unreachable = type(error.__cause__).__name__ == "ConnectError"
            cost = 0.0 if unreachable else reserved
            return FailedAttempt("the connection failed", unreachable=unreachable)
        except openai.APIStatusError as error:
            cost, refusal = 0.0, error
        except ValueError:  # raised by the JSON parser
            return FailedAttempt("the reply was incomplete")
        finally:
            self.account.settle(reserved, cost)
        # Outside of the handler: otherwise the new error would carry the server's message as its context.
        return self._refused(refusal)

    def _read(self, completion: Any, reserved: float) -> Reply | FailedAttempt:
        """Reads a completion; the client library does not check its form."""
        try:
            choice = completion.choices[0]
            text, refusal = choice.message.content, getattr(choice.message, "refusal", None)
            reason = choice.finish_reason
        except (AttributeError, IndexError, TypeError):
            return FailedAttempt("the reply had no choices")
        reply = self._with_usage(getattr(completion, "usage", None), reserved)
        if refusal or reason == "content_filter":
            reason = f": {self._printable(refusal)}" if refusal else " by the server's content filter"
            return replace(reply, failure=f"refused{reason}")
        if not isinstance(text, str) or not text.strip():
            return replace(reply, failure=f"the reply has no text (finish reason {reason!r})")
        return replace(reply, text=self._without_key(text))

    def _with_usage(self, usage: Any, reserved: float) -> Reply:
        """Returns a reply without text, with its tokens and cost.

        Some servers report no usage; the upper bound of the cost is then used.
        """
        sent = getattr(usage, "prompt_tokens", None)
        received = getattr(usage, "completion_tokens", None)
        if not isinstance(sent, int) or not isinstance(received, int):
            self.account.count(0, 0)
            return Reply(None, cost_usd=reserved)
        self.account.count(sent, received)
        prices = self.account.prices
        return Reply(None, None, sent, received, prices.cost(sent, received) if prices else 0.0)

    def _refused(self, error: openai.APIStatusError) -> Reply | FailedAttempt:
        """Interprets an error status: a failed attempt, a failure of this request, or an error of all."""
        status, kinds = error.status_code, {error.code, error.type}
        if status == 402 or "insufficient_quota" in kinds:
            raise InputError(
                f"the quota of the account at {self.server} is used up",
                "add credit, then rerun the command: replies are cached, no request is sent twice",
            )
        if status in _TRY_AGAIN or status >= 500:
            reason = "too many requests" if status == 429 else f"the server returned status {status}"
            headers = error.response.headers
            # 0 becomes None: a server that refuses and names no wait gets the doubling waits.
            return FailedAttempt(reason, retry_after(headers) or reset_after(headers) or None)
        if kinds & _FILTERED:
            return Reply(None, "refused by the server's content filter")
        if kinds & _TOO_LONG:
            return Reply(None, "the conversation is too long for the model")
        raise self._user_error(status, self._printable(_message(error)))

    def _user_error(self, status: int, message: str) -> InputError:
        if status in (401, 403):  # without the server's message: it may quote a part of the key
            return InputError(f"the server at {self.server} refuses access ({status})", self.key_hint)
        if status == 404:
            return InputError(
                f"the server at {self.server} has no such model or path (404): {message}",
                "check language_model.model, and language_model.server.base_url (it often ends in /v1)",
            )
        return InputError(
            f"the server at {self.server} refuses the request ({status}): {message}",
            "check the settings of language_model; the model may not support one of them",
        )

    def _printable(self, text: object) -> str:
        return " ".join(self._without_key(str(text)).split())[:_SHOWN]

    def _without_key(self, text: str) -> str:
        return text.replace(self.key, "[key]") if self.key else text


def _message(error: openai.APIStatusError) -> object:
    """Returns the server's message, without the text that the client library adds."""
    return error.body.get("message", "") if isinstance(error.body, dict) else error.message


def concurrently(
    session: Session, requests: Sequence[Request], concurrency: int
) -> Iterator[tuple[int, Reply]]:
    """Yields (index, reply) as the replies arrive.

    After the first error no new request is sent; the open ones are completed and yielded, because they
    may have been charged. Then the error is raised. An interrupt (Ctrl-C) is treated like an error; a
    second one ends at once.

    Args:
        session: the connection.
        requests: the requests.
        concurrency: maximum number of open requests.
    """
    todo = deque(enumerate(requests))
    running: dict[Future[Reply], int] = {}
    error: BaseException | None = None
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            while running or (todo and error is None):
                # Not all at once: a queued request would still be sent after an error.
                while todo and error is None and len(running) < concurrency:
                    index, request = todo.popleft()
                    running[pool.submit(session.ask, request)] = index
                try:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as interrupt:
                    if error is not None:
                        raise
                    error = interrupt
                    session.stop.set()
                    continue
                for future in done:
                    index, problem = running.pop(future), future.exception()
                    if problem is None:
                        yield index, future.result()
                    elif not isinstance(problem, Stopped):
                        error = error or problem
                        session.stop.set()
        finally:
            # Also if the caller closes this generator: leaving the pool waits for all of its threads.
            session.stop.set()
    if error is not None:
        raise error
