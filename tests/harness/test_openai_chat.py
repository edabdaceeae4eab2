"""The OpenAI-compatible chat model: the real client with a local server."""

import dataclasses
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from chat_server import ChatHandler, ChatServer

from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import chat_requests
from dissectbench.harness.foundation.chat_settings import ChatServer as ServerSettings
from dissectbench.harness.foundation.chat_settings import Sampling
from dissectbench.harness.foundation.openai_chat import OpenAIChat
from dissectbench.harness.foundation.pricing import LIST_PRICES, Budget, CostLimitError
from dissectbench.harness.foundation.protocols import LanguageModel, Message
from dissectbench.harness.foundation.reply_cache import CachedLanguageModel

KEY = "sk-secret-0123456789"
PROMPT_TOKENS, REPLY_TOKENS = 20, 5


class Server(ChatServer):
    """Answers with "reply to <text>"; `script` holds the answers that come first, by text."""

    def __init__(self):
        super().__init__(handler=Handler)
        self.script, self.delay = {}, 0.0
        self.hold: Any = None  # tells which texts are answered before `wake` is set
        self.wake = threading.Event()
        self.requests, self.answered = Counter(), Counter()
        self.times, self.bodies, self.keys = [], [], []
        self.open = self.most_open = 0
        self.lock = threading.Lock()


class Handler(ChatHandler):
    def respond(self, body):
        server: Any = self.server
        text = body["messages"][-1]["content"]
        with server.lock:
            server.times.append(time.monotonic())
            server.bodies.append(body)
            server.keys.append(self.headers["Authorization"])
            server.requests[text] += 1
            server.open += 1
            server.most_open = max(server.most_open, server.open)
            planned = server.script.get(text, [])
            answer: Any = planned.pop(0) if planned else ok(f"reply to {text}")
        try:
            time.sleep(server.delay)
            if server.hold and not server.hold(text):
                server.wake.wait(60)
            self.send(*answer)
            with server.lock:
                server.answered[text] += 1
        finally:
            with server.lock:
                server.open -= 1

    def send(self, status, content, headers=None, wait=0.0):
        time.sleep(wait)
        super().send(status, content, headers)


def ok(text, headers=None, wait=0.0, finish="stop", **message):
    choice = {"index": 0, "finish_reason": finish}
    choice["message"] = {"role": "assistant", "content": text, **message}
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": REPLY_TOKENS, "total_tokens": 25}
    answer = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return 200, {**answer, "choices": [choice], "usage": usage}, headers, wait


def broken(status, message="no", code=None, headers=None) -> Any:
    return status, {"error": {"message": f"{message} (you sent {KEY})", "code": code}}, headers


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    server = Server()
    with server.listening():
        yield server
        server.wake.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Shortens the waits between retries to a hundredth, but not those that servers ask for."""
    monkeypatch.setattr(chat_requests, "FIRST_WAIT", 0.01)


SERVER, SAMPLING, BUDGET = (
    {field.name for field in dataclasses.fields(kind)} for kind in (ServerSettings, Sampling, Budget)
)


def chat(server, **settings):
    """Returns a client of the server; takes the fields of all settings classes."""
    settings = {"base_url": server.url, "timeout": 10, "max_retries": 3, **settings}
    part = lambda names: {name: settings.pop(name) for name in names & set(settings)}  # noqa: E731
    return OpenAIChat(
        "tiny",
        ServerSettings(**part(SERVER)),
        sampling=Sampling(**part(SAMPLING)),
        budget=Budget(**part(BUDGET)),
        **settings,
    )


def conversations_of(*texts):
    return [[Message("user", text)] for text in texts]


def single_reply(model, text="hello"):
    [(index, reply)] = model.reply(conversations_of(text))
    assert index == 0
    return reply


def collect(replies, into):
    """Appends the replies that arrive before an error."""
    for _, reply in replies:
        into.append(reply)


def test_a_reply_has_tokens_and_a_cost(server):
    model = chat(server, prices=[2.0, 10.0], seed=7)
    reply = single_reply(model)
    assert reply.text == "reply to hello"
    assert (reply.prompt_tokens, reply.reply_tokens) == (PROMPT_TOKENS, REPLY_TOKENS)
    assert reply.cost_usd == pytest.approx((20 * 2 + 5 * 10) / 1e6)
    assert model.account.calls == 1
    assert model.account.cost_usd == pytest.approx(reply.cost_usd)
    assert isinstance(model, LanguageModel)


def test_the_server_receives_the_settings_and_the_whole_conversation(server):
    model = chat(server, seed=7, temperature=None, max_tokens=9, max_tokens_field="max_completion_tokens")
    turns = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    list(model.reply([turns], sample=2))
    assert server.bodies == [
        {
            "model": "tiny",
            "messages": [{"role": t.role, "content": t.content} for t in turns],
            "max_completion_tokens": 9,
            "seed": 9,
        }
    ]


def test_requests_run_concurrently_up_to_the_limit(server):
    server.delay = 0.05
    texts = [f"text {i}" for i in range(24)]
    replies = dict(chat(server, concurrency=4).reply(conversations_of(*texts)))
    assert {i: r.text for i, r in replies.items()} == {i: f"reply to {t}" for i, t in enumerate(texts)}
    assert 1 < server.most_open <= 4


def test_equal_conversations_are_sent_and_paid_once(server):
    replies = dict(chat(server, prices=[1, 1]).reply(conversations_of("a", "b", "a", "a")))
    assert server.requests == {"a": 1, "b": 1}
    assert [replies[i].text for i in range(4)] == ["reply to a", "reply to b", "reply to a", "reply to a"]
    assert [replies[i].cost_usd > 0 for i in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0.4"},
        {"retry-after-ms": "400"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"},
    ],
)
def test_a_request_is_repeated_after_the_time_that_a_busy_server_names(server, headers):
    server.script["hello"] = [broken(429, headers=headers)]
    assert single_reply(chat(server)).text == "reply to hello"
    assert server.times[1] - server.times[0] >= 0.4


def test_a_retry_after_may_be_a_date(server):
    when = []

    def date():
        when.append(datetime.now(UTC) + timedelta(seconds=2))
        return format_datetime(when[0].replace(microsecond=0), usegmt=True)

    server.script["hello"] = [broken(429, headers={"Retry-After": date})]
    assert single_reply(chat(server)).text == "reply to hello"
    assert datetime.now(UTC) >= when[0].replace(microsecond=0)


def test_all_threads_wait_for_a_busy_server(server):
    server.script["a"] = [broken(429, headers={"Retry-After": "0.5"})]
    texts = ["a", *(f"text {i}" for i in range(6))]
    start = time.monotonic()
    replies = dict(chat(server, concurrency=1).reply(conversations_of(*texts)))
    assert all(reply.text for reply in replies.values())
    assert sum(t - start < 0.5 for t in server.times) == 1


def test_the_next_request_waits_for_the_reset_of_a_used_up_limit(server):
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "300ms"}
    server.script["a"] = [ok("fine", headers)]
    dict(chat(server, concurrency=1).reply(conversations_of("a", "b")))
    assert server.times[1] - server.times[0] >= 0.3


@pytest.mark.parametrize(
    "answer",
    [
        broken(500),
        broken(503, headers={"Retry-After": "0"}),
        broken(408),
        broken(409),
        (200, '{"id": "x", "choices": [{"index": 0, "mess'),
        (200, {"id": "x", "choices": []}),
        (200, {"id": "x", "choices": None}),
        (200, {"id": "x", "choices": [None]}),
        (200, {"id": "x", "choices": [{"index": 0}]}),
        (200, "[]"),
        (200, "<html>busy</html>", {"Content-Type": "text/html"}),
        (200, '{"cut": ', {"Content-Length": "999", "Connection": "close"}),
        ok("late", wait=2.5),
    ],
    ids=[
        *("500", "503", "408", "409", "truncated JSON", "no choices", "null choices", "a null choice"),
        *("no message", "a list", "HTML", "a cut body", "hanging"),
    ],
)
def test_transient_errors_are_retried(server, answer):
    server.script["hello"] = [answer]
    hanging = len(answer) == 4 and answer[3] > 0
    assert single_reply(chat(server, timeout=1 if hanging else 10)).text == "reply to hello"
    assert server.requests["hello"] == 2


def test_the_failure_after_all_retries_has_a_reason(server):
    server.script["bad"] = [broken(500)] * 9
    replies = dict(chat(server, max_retries=2).reply(conversations_of("bad", "good")))
    assert replies[0].failure == "the server returned status 500 (3 tries)"
    assert replies[0].text is None
    assert replies[1].text == "reply to good"
    assert server.requests == {"bad": 3, "good": 1}


def test_waits_double_with_reproducible_jitter(server, monkeypatch):
    monkeypatch.setattr(chat_requests, "FIRST_WAIT", 1.0)
    runs = []
    for _ in range(2):
        waits = []
        server.script["hello"] = [broken(500)] * 4
        single_reply(chat(server, max_retries=4, sleep=waits.append))
        runs.append(waits)
    assert runs[0] == runs[1]
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(runs[0]))
    assert len({wait / 2**i for i, wait in enumerate(runs[0])}) == 4


def test_a_refusal_is_a_failure_and_is_not_repeated(server):
    server.script["rude"] = [ok(None, refusal="I will not")]
    server.script["filtered"] = [ok("", finish="content_filter")]
    server.script["azure"] = [broken(400, code="content_filter")]
    server.script["cut"] = [ok("", finish="length")]
    server.script["long"] = [broken(400, code="context_length_exceeded")]
    replies = dict(chat(server).reply(conversations_of("rude", "filtered", "azure", "cut", "long")))
    assert [replies[i].failure for i in range(5)] == [
        "refused: I will not",
        "refused by the server's content filter",
        "refused by the server's content filter",
        "the reply has no text (finish reason 'length')",
        "the conversation is too long for the model",
    ]
    assert set(server.requests.values()) == {1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (broken(401), r"refuses access \(401\)\n.*check the key in OPENAI_API_KEY"),
        (broken(403), r"refuses access \(403\)"),
        (broken(404), r"no such model or path \(404\)(?s:.*)language_model\.model"),
        (broken(429, code="insufficient_quota"), "quota of the account"),
        (broken(402), "quota of the account"),
        (broken(400, "unknown parameter"), r"refuses the request \(400\): unknown parameter"),
        (broken(429, headers={"Retry-After": "7200"}), "asks to wait for 7200 s"),
    ],
)
def test_errors_that_affect_every_request_end_the_batch(server, answer, message):
    server.script["a"] = [answer]
    with pytest.raises(InputError, match=message) as caught:
        list(chat(server, concurrency=1).reply(conversations_of("a", "b")))
    assert KEY not in f"{caught.value!s} {caught.value!r} {caught.value.__dict__}"
    assert server.requests == {"a": 1}


def test_open_requests_are_completed_before_the_batch_ends(server):
    server.script["bad"] = [broken(401)]
    server.script["slow"] = [ok("kept", wait=0.5)]
    received = []
    replies = chat(server, concurrency=2).reply(conversations_of("slow", "bad", "never"))
    with pytest.raises(InputError, match="401"):
        collect(replies, received)
    assert [reply.text for reply in received] == ["kept"]
    assert "never" not in server.requests


def test_the_error_names_an_unreachable_server():
    nowhere = ServerSettings("http://127.0.0.1:9/v1", max_retries=1)
    model = OpenAIChat("tiny", nowhere, sleep=lambda _: None)
    with pytest.raises(
        InputError, match=r"cannot reach(?s:.*)127\.0\.0\.1:9(?s:.*)is the server running"
    ):
        single_reply(model)


def test_the_error_names_the_variable_of_a_missing_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        single_reply(OpenAIChat("gpt-4o-mini"))
    assert single_reply(chat(server)).text  # other servers may need no key
    server.script["again"] = [broken(401)]
    with pytest.raises(InputError, match="set MY_KEY to a key"):
        single_reply(chat(server, key_variable="MY_KEY"), "again")


def test_the_key_is_read_at_each_use(server, monkeypatch):
    model = chat(server, key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-later")
    single_reply(model)
    assert server.keys == ["Bearer sk-later"]


def everything(value, depth=6):
    """Returns an object and its attributes as text."""
    parts = [repr(value)]
    if depth and hasattr(value, "__dict__"):
        parts += [f"{k} {everything(v, depth - 1)}" for k, v in vars(value).items()]
    return " ".join(parts)


def test_the_key_occurs_in_no_object_log_message_or_file(server, tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    server.script["echo"] = [ok(f"your key is {KEY}")]
    server.script["rude"] = [ok(None, refusal=f"not with {KEY}")]
    server.script["busy"] = [broken(500), broken(429)]
    model = chat(server)
    cached = CachedLanguageModel(model, Cache(tmp_path))
    replies = dict(cached.reply(conversations_of("echo", "rude", "busy", "fine")))
    assert replies[0].text == "your key is [key]"
    assert replies[1].failure == "refused: not with [key]"
    server.script["wrong"] = [broken(400)]
    with pytest.raises(InputError) as caught:
        single_reply(model, "wrong")
    assert "[key]" in str(caught.value)
    seen = [everything(model), model.fingerprint(), everything(cached), everything(caught.value)]
    seen += [repr(replies), caplog.text, *capsys.readouterr(), str(caught.getrepr(style="long"))]
    seen += [path.name + path.read_text() for path in tmp_path.rglob("*.json")]
    assert any("reply to fine" in text for text in seen)
    assert not [text for text in seen if KEY in text]


def test_secrets_in_settings_are_refused_and_not_printed():
    with pytest.raises(InputError, match="key_variable") as name:
        ServerSettings(key_variable=KEY)
    with pytest.raises(InputError, match="base_url") as address:
        ServerSettings(f"http://user:{KEY}@host/v1")
    assert KEY not in f"{name.value} {address.value}"
    with pytest.raises(InputError, match="query"):
        ServerSettings(f"http://host/v1?key={KEY}")


def test_secrets_in_the_address_of_the_environment_are_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://user:{KEY}@host/v1")
    with pytest.raises(InputError, match="base_url") as error:
        OpenAIChat("tiny")
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"concurrency": 0}, "concurrency=0 must be at least 1"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"temperature": -1}, "temperature=-1"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"timeout": 0}, "timeout=0"),
        ({"base_url": "localhost:8000"}, "base_url is not an address"),
        ({"max_tokens_field": "tokens"}, "max_tokens_field is 'tokens'"),
        ({"prices": [1]}, r"prices=\[1\]"),
        ({"prices": [1, -1]}, "prices="),
        ({"max_cost_usd": 1.0, "base_url": "http://host/v1"}, "prices of tiny are unknown"),
    ],
)
def test_settings_out_of_range_are_refused(server, settings, message):
    with pytest.raises(InputError, match=message):
        chat(server, **settings)


def test_list_prices_apply_to_openais_own_server_alone(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert OpenAIChat("gpt-4o-mini").account.prices == LIST_PRICES["gpt-4o-mini"]
    assert OpenAIChat("some-model").account.prices is None
    elsewhere = ServerSettings("http://localhost:8000/v1")
    assert OpenAIChat("gpt-4o-mini", elsewhere).account.prices is None


def test_the_cost_limit_is_used_up_but_never_exceeded(server):
    texts = [f"text {i:02d}" for i in range(40)]
    each = (PROMPT_TOKENS + REPLY_TOKENS) / 1e6
    model = chat(server, prices=[1, 1], max_cost_usd=each * 20, max_tokens=10, concurrency=4)
    received = []
    with pytest.raises(
        CostLimitError, match=r"stopped before max_cost_usd(?s:.*)no request is sent twice"
    ):
        collect(model.reply(conversations_of(*texts)), received)
    worst = (len("text 00") + 16 + 10) / 1e6
    assert each * 20 - worst < model.account.cost_usd <= each * 20
    assert sum(reply.cost_usd for reply in received) == pytest.approx(model.account.cost_usd)
    assert server.requests.total() == len(received)


def test_a_call_that_could_exceed_the_limit_is_not_sent(server):
    model = chat(server, prices=[1, 1], max_cost_usd=1e-6)
    with pytest.raises(CostLimitError, match=r"0\.0000 USD are spent"):
        single_reply(model)
    assert not server.requests


def test_a_lost_reply_is_counted_with_its_maximum_cost(server):
    server.script["hello"] = [(200, '{"cut'), broken(500)]
    model = chat(server, prices=[1, 1], max_tokens=10)
    single_reply(model)
    worst, paid = (len("hello") + 16 + 10) / 1e6, (PROMPT_TOKENS + REPLY_TOKENS) / 1e6
    assert model.account.cost_usd == pytest.approx(worst + paid)


def test_a_cached_reply_is_not_requested_again(server, tmp_path):
    server.script["bad"] = [broken(400, code="content_filter")]
    model = CachedLanguageModel(chat(server, prices=[1, 1]), Cache(tmp_path))
    for run in range(2):
        replies = dict(model.reply(conversations_of("a", "bad", "b", "a")))
        assert [replies[i].text for i in (0, 2, 3)] == ["reply to a", "reply to b", "reply to a"]
        assert (replies[0].cost_usd > 0) == (run == 0)
    assert server.requests == {"a": 1, "b": 1, "bad": 2}  # failures are not cached
    dict(model.reply(conversations_of("a"), sample=1))
    dict(CachedLanguageModel(chat(server, temperature=1.0), Cache(tmp_path)).reply(conversations_of("a")))
    assert server.requests["a"] == 3


def test_a_damaged_cache_entry_is_requested_again(server, tmp_path):
    model = CachedLanguageModel(chat(server), Cache(tmp_path))
    single_reply(model)
    [path] = tmp_path.rglob("*.json")
    for content in ("", '{"value": {"text": null}}', '{"value": {"words": "x"}}', '{"value": 3}'):
        path.write_text(content)
        assert single_reply(model).text == "reply to hello"
    assert server.requests["hello"] == 5


CHILD = """
import signal
# A background job, and so its children, start with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
from dissectbench.harness.cache import Cache
from dissectbench.harness.foundation import CachedLanguageModel, ChatServer, Message, OpenAIChat
server = ChatServer(sys.argv[1], concurrency=3)
model = CachedLanguageModel(OpenAIChat("tiny", server), Cache(sys.argv[2]))
conversations = [[Message("user", f"text {i:02d}")] for i in range(12)]
print(sum(reply.failure is None for _, reply in model.reply(conversations)))
"""


def stored_replies(folder):
    return len([path for path in folder.rglob("*.json") if not path.name.startswith(".")])


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.01)


def test_after_a_kill_no_answered_request_is_sent_again(server, tmp_path):
    server.hold = lambda text: text <= "text 05"  # six replies, then none
    command = [sys.executable, "-c", CHILD, server.url, str(tmp_path)]
    child = subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": KEY})
    wait_for(lambda: stored_replies(tmp_path) == 6 and server.open == 3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    answered = Counter(server.answered)
    assert answered == {f"text 0{i}": 1 for i in range(6)}
    before = Counter(server.requests)
    server.hold = None
    server.wake.set()
    model = CachedLanguageModel(chat(server), Cache(tmp_path))
    conversations = conversations_of(*(f"text {i:02d}" for i in range(12)))
    for expected in (6, 0):  # at the second resume everything is cached
        assert all(reply.text for _, reply in model.reply(conversations))
        assert server.requests.total() - before.total() == expected
        before = Counter(server.requests)
    assert all(server.requests[text] == 1 for text in answered)


def test_ctrl_c_stores_the_replies_to_open_requests(server, tmp_path):
    server.script["text 00"] = [ok("late", wait=1.0)]
    server.hold = lambda text: text <= "text 02"
    command = [sys.executable, "-c", CHILD, server.url, str(tmp_path)]
    child = subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": KEY}, stderr=subprocess.PIPE)
    wait_for(lambda: server.requests["text 04"])  # 01 and 02 are answered; 00, 03 and 04 are open
    child.send_signal(signal.SIGINT)
    time.sleep(0.5)
    server.wake.set()
    assert re.search("KeyboardInterrupt", child.communicate(timeout=60)[1].decode())
    assert server.requests.total() == stored_replies(tmp_path) == 5
