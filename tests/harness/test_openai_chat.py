"""The OpenAI-compatible chat model, with the real client against a server on this machine."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from chat_server import ChatHandler, ChatServer

from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import chat_session
from dissectbench.harness.foundation.openai_chat import OpenAIChat
from dissectbench.harness.foundation.pricing import CostLimitError
from dissectbench.harness.foundation.protocols import LanguageModel, Message
from dissectbench.harness.foundation.reply_cache import CachedLanguageModel

KEY = "sk-secret-0123456789"
PROMPT_TOKENS, REPLY_TOKENS = 20, 5


class Server(ChatServer):
    """`script` maps a text to the answers it gets before normal ones."""

    def __init__(self):
        super().__init__(handler=Handler)
        self.script, self.delay = {}, 0.0
        self.hold: Any = None  # says which texts are answered before `wake`
        self.wake = threading.Event()
        self.asked, self.answered = Counter(), Counter()
        self.times, self.bodies, self.keys = [], [], []
        self.now = self.most = 0
        self.lock = threading.Lock()


class Handler(ChatHandler):
    def respond(self, body):
        server: Any = self.server
        text = body["messages"][-1]["content"]
        with server.lock:
            server.times.append(time.monotonic())
            server.bodies.append(body)
            server.keys.append(self.headers["Authorization"])
            server.asked[text] += 1
            server.now += 1
            server.most = max(server.most, server.now)
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
                server.now -= 1

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
    """Own waits are a hundredth; what servers ask for is waited for in full."""
    monkeypatch.setattr(chat_session, "FIRST_WAIT", 0.01)


def chat(server, **settings):
    return OpenAIChat("tiny", server.url, **{"timeout": 10, "max_retries": 3, **settings})


def asks(*texts):
    return [[Message("user", text)] for text in texts]


def one(model, text="hello"):
    [(index, reply)] = model.reply(asks(text))
    assert index == 0
    return reply


def collect(replies, into):
    """Keeps what comes before an error does."""
    for _, reply in replies:
        into.append(reply)


def test_a_reply_comes_with_its_tokens_and_its_price(server):
    model = chat(server, prices=[2.0, 10.0], seed=7)
    reply = one(model)
    assert reply.text == "reply to hello"
    assert (reply.prompt_tokens, reply.reply_tokens) == (PROMPT_TOKENS, REPLY_TOKENS)
    assert reply.cost_usd == pytest.approx((20 * 2 + 5 * 10) / 1e6)
    assert model.account.calls == 1
    assert model.account.cost_usd == pytest.approx(reply.cost_usd)
    assert isinstance(model, LanguageModel)


def test_the_server_gets_the_settings_and_the_whole_conversation(server):
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


def test_requests_run_concurrently_and_never_more_than_allowed(server):
    server.delay = 0.05
    texts = [f"text {i}" for i in range(24)]
    replies = dict(chat(server, concurrency=4).reply(asks(*texts)))
    assert {i: r.text for i, r in replies.items()} == {i: f"reply to {t}" for i, t in enumerate(texts)}
    assert 1 < server.most <= 4


def test_equal_conversations_are_sent_and_paid_once(server):
    replies = dict(chat(server, prices=[1, 1]).reply(asks("a", "b", "a", "a")))
    assert server.asked == {"a": 1, "b": 1}
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
def test_a_busy_server_is_asked_again_when_it_says(server, headers):
    server.script["hello"] = [broken(429, headers=headers)]
    assert one(chat(server)).text == "reply to hello"
    assert server.times[1] - server.times[0] >= 0.4


def test_a_retry_after_may_be_a_date(server):
    when = []

    def date():
        when.append(datetime.now(timezone.utc) + timedelta(seconds=2))
        return format_datetime(when[0].replace(microsecond=0), usegmt=True)

    server.script["hello"] = [broken(429, headers={"Retry-After": date})]
    assert one(chat(server)).text == "reply to hello"
    assert datetime.now(timezone.utc) >= when[0].replace(microsecond=0)


def test_while_one_waits_for_a_busy_server_the_others_do_too(server):
    server.script["a"] = [broken(429, headers={"Retry-After": "0.5"})]
    texts = ["a", *(f"text {i}" for i in range(6))]
    start = time.monotonic()
    replies = dict(chat(server, concurrency=1).reply(asks(*texts)))
    assert all(reply.text for reply in replies.values())
    assert sum(t - start < 0.5 for t in server.times) == 1


def test_a_limit_that_is_used_up_is_waited_for(server):
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "300ms"}
    server.script["a"] = [ok("fine", headers)]
    dict(chat(server, concurrency=1).reply(asks("a", "b")))
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
def test_what_may_pass_is_tried_again(server, answer):
    server.script["hello"] = [answer]
    hanging = len(answer) == 4 and answer[3] > 0
    assert one(chat(server, timeout=1 if hanging else 10)).text == "reply to hello"
    assert server.asked["hello"] == 2


def test_retries_end_with_a_failure_that_says_why(server):
    server.script["bad"] = [broken(500)] * 9
    replies = dict(chat(server, max_retries=2).reply(asks("bad", "good")))
    assert replies[0].failure == "the server answered 500 (3 tries)"
    assert replies[0].text is None
    assert replies[1].text == "reply to good"
    assert server.asked == {"bad": 3, "good": 1}


def test_waits_double_with_jitter_and_are_the_same_in_every_run(server, monkeypatch):
    monkeypatch.setattr(chat_session, "FIRST_WAIT", 1.0)
    runs = []
    for _ in range(2):
        waits = []
        server.script["hello"] = [broken(500)] * 4
        one(chat(server, max_retries=4, sleep=waits.append))
        runs.append(waits)
    assert runs[0] == runs[1]
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(runs[0]))
    assert len({wait / 2**i for i, wait in enumerate(runs[0])}) == 4


def test_a_refusal_is_a_failure_and_not_repeated(server):
    server.script["rude"] = [ok(None, refusal="I will not")]
    server.script["filtered"] = [ok("", finish="content_filter")]
    server.script["azure"] = [broken(400, code="content_filter")]
    server.script["cut"] = [ok("", finish="length")]
    server.script["long"] = [broken(400, code="context_length_exceeded")]
    replies = dict(chat(server).reply(asks("rude", "filtered", "azure", "cut", "long")))
    assert [replies[i].failure for i in range(5)] == [
        "refused: I will not",
        "refused by the server's content filter",
        "refused by the server's content filter",
        "the reply has no text (it ended by 'length')",
        "the conversation is too long for the model",
    ]
    assert set(server.asked.values()) == {1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (broken(401), r"refuses access \(401\)\n.*check the key in OPENAI_API_KEY"),
        (broken(403), r"refuses access \(403\)"),
        (broken(404), r"no such model or path \(404\)(?s:.*)language_model\.model"),
        (broken(429, code="insufficient_quota"), "quota of the account"),
        (broken(402), "quota of the account"),
        (broken(400, "unknown parameter"), r"refuses the request \(400\): unknown parameter"),
        (broken(429, headers={"Retry-After": "7200"}), "wants to be left alone for 7200 s"),
    ],
)
def test_what_would_befall_every_request_ends_the_batch(server, answer, message):
    server.script["a"] = [answer]
    with pytest.raises(InputError, match=message) as caught:
        list(chat(server, concurrency=1).reply(asks("a", "b")))
    assert KEY not in f"{caught.value!s} {caught.value!r} {caught.value.__dict__}"
    assert server.asked == {"a": 1}


def test_replies_under_way_are_handed_over_before_the_batch_ends(server):
    server.script["bad"] = [broken(401)]
    server.script["slow"] = [ok("kept", wait=0.5)]
    found = []
    replies = chat(server, concurrency=2).reply(asks("slow", "bad", "never"))
    with pytest.raises(InputError, match="401"):
        collect(replies, found)
    assert [reply.text for reply in found] == ["kept"]
    assert "never" not in server.asked


def test_a_server_that_is_not_there_is_named():
    model = OpenAIChat("tiny", "http://127.0.0.1:9/v1", max_retries=1, sleep=lambda _: None)
    with pytest.raises(
        InputError, match=r"cannot reach(?s:.*)127\.0\.0\.1:9(?s:.*)is the server running"
    ):
        one(model)


def test_without_a_key_it_says_which_variable_to_set(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        one(OpenAIChat("gpt-4o-mini"))
    assert one(chat(server)).text  # a server of one's own may need none
    server.script["again"] = [broken(401)]
    with pytest.raises(InputError, match="set MY_KEY to a key"):
        one(chat(server, key_variable="MY_KEY"), "again")


def test_the_key_is_read_when_it_is_needed(server, monkeypatch):
    model = chat(server, key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-later")
    one(model)
    assert server.keys == ["Bearer sk-later"]


def everything(value, depth=6):
    """What can be seen of an object by its attributes, as text."""
    parts = [repr(value)]
    if depth and hasattr(value, "__dict__"):
        parts += [f"{k} {everything(v, depth - 1)}" for k, v in vars(value).items()]
    return " ".join(parts)


def test_the_key_is_nowhere_to_be_found(server, tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    server.script["echo"] = [ok(f"your key is {KEY}")]
    server.script["rude"] = [ok(None, refusal=f"not with {KEY}")]
    server.script["busy"] = [broken(500), broken(429)]
    model = chat(server)
    cached = CachedLanguageModel(model, Cache(tmp_path))
    replies = dict(cached.reply(asks("echo", "rude", "busy", "fine")))
    assert replies[0].text == "your key is [key]"
    assert replies[1].failure == "refused: not with [key]"
    server.script["wrong"] = [broken(400)]
    with pytest.raises(InputError) as caught:
        one(model, "wrong")
    assert "[key]" in str(caught.value)
    seen = [everything(model), model.fingerprint(), everything(cached), everything(caught.value)]
    seen += [repr(replies), caplog.text, *capsys.readouterr(), str(caught.getrepr(style="long"))]
    seen += [path.name + path.read_text() for path in tmp_path.rglob("*.json")]
    assert any("reply to fine" in text for text in seen)
    assert not [text for text in seen if KEY in text]


def test_secrets_in_settings_are_refused_unshown():
    with pytest.raises(InputError, match="key_variable") as name:
        OpenAIChat("tiny", key_variable=KEY)
    with pytest.raises(InputError, match="base_url") as address:
        OpenAIChat("tiny", f"http://user:{KEY}@host/v1")
    assert KEY not in f"{name.value} {address.value}"
    with pytest.raises(InputError, match="query"):
        OpenAIChat("tiny", f"http://host/v1?key={KEY}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"concurrency": 0}, "concurrency=0 must be at least 1"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"timeout": 0}, "timeout=0"),
        ({"base_url": "localhost:8000"}, "base_url is no address"),
        ({"max_tokens_field": "tokens"}, "max_tokens_field=tokens"),
        ({"prices": [1]}, r"prices=\[1\]"),
        ({"prices": [1, -1]}, "prices="),
        ({"max_cost_usd": 1.0, "base_url": "http://host/v1"}, "what tiny costs is not known"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        OpenAIChat("tiny", **settings)


def test_the_cost_limit_is_never_passed_and_is_used_as_far_as_it_goes(server):
    texts = [f"text {i:02d}" for i in range(40)]
    each = (PROMPT_TOKENS + REPLY_TOKENS) / 1e6
    model = chat(server, prices=[1, 1], max_cost_usd=each * 20, max_tokens=10, concurrency=4)
    found = []
    with pytest.raises(CostLimitError, match=r"stopped before max_cost_usd(?s:.*)is asked twice"):
        collect(model.reply(asks(*texts)), found)
    worst = (len("text 00") + 16 + 10) / 1e6
    assert each * 20 - worst < model.account.cost_usd <= each * 20
    assert sum(reply.cost_usd for reply in found) == pytest.approx(model.account.cost_usd)
    assert server.asked.total() == len(found)


def test_a_call_that_could_pass_the_limit_alone_is_not_sent(server):
    model = chat(server, prices=[1, 1], max_cost_usd=1e-6)
    with pytest.raises(CostLimitError, match=r"0\.0000 USD are spent"):
        one(model)
    assert not server.asked


def test_what_may_have_been_charged_is_counted_at_its_most(server):
    server.script["hello"] = [(200, '{"cut'), broken(500)]
    model = chat(server, prices=[1, 1], max_tokens=10)
    one(model)
    worst, paid = (len("hello") + 16 + 10) / 1e6, (PROMPT_TOKENS + REPLY_TOKENS) / 1e6
    assert model.account.cost_usd == pytest.approx(worst + paid)


def test_a_known_reply_is_not_asked_again(server, tmp_path):
    server.script["bad"] = [broken(400, code="content_filter")]
    model = CachedLanguageModel(chat(server, prices=[1, 1]), Cache(tmp_path))
    for run in range(2):
        replies = dict(model.reply(asks("a", "bad", "b", "a")))
        assert [replies[i].text for i in (0, 2, 3)] == ["reply to a", "reply to b", "reply to a"]
        assert (replies[0].cost_usd > 0) == (run == 0)
    assert server.asked == {"a": 1, "b": 1, "bad": 2}  # a failure is no reply
    dict(model.reply(asks("a"), sample=1))
    dict(CachedLanguageModel(chat(server, temperature=1.0), Cache(tmp_path)).reply(asks("a")))
    assert server.asked["a"] == 3


def test_a_damaged_cache_entry_is_asked_again(server, tmp_path):
    model = CachedLanguageModel(chat(server), Cache(tmp_path))
    one(model)
    [path] = tmp_path.rglob("*.json")
    for content in ("", '{"value": {"text": null}}', '{"value": {"words": "x"}}', '{"value": 3}'):
        path.write_text(content)
        assert one(model).text == "reply to hello"
    assert server.asked["hello"] == 5


CHILD = """
import signal
# A background job starts with Ctrl-C ignored, and so do its children; a terminal does not.
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
from dissectbench.harness.cache import Cache
from dissectbench.harness.foundation.reply_cache import CachedLanguageModel
from dissectbench.harness.foundation.openai_chat import OpenAIChat
from dissectbench.harness.foundation.protocols import Message
model = CachedLanguageModel(OpenAIChat("tiny", sys.argv[1], concurrency=3), Cache(sys.argv[2]))
conversations = [[Message("user", f"text {i:02d}")] for i in range(12)]
print(sum(reply.failure is None for _, reply in model.reply(conversations)))
"""


def kept(folder):
    return len([path for path in folder.rglob("*.json") if not path.name.startswith(".")])


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to this in time"
        time.sleep(0.01)


def test_after_a_kill_nothing_that_was_answered_is_asked_again(server, tmp_path):
    server.hold = lambda text: text <= "text 05"  # six answers, then silence
    command = [sys.executable, "-c", CHILD, server.url, str(tmp_path)]
    child = subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": KEY})
    wait_for(lambda: kept(tmp_path) == 6 and server.now == 3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    answered = Counter(server.answered)
    assert answered == {f"text 0{i}": 1 for i in range(6)}
    before = Counter(server.asked)
    server.hold = None
    server.wake.set()
    model = CachedLanguageModel(chat(server), Cache(tmp_path))
    conversations = asks(*(f"text {i:02d}" for i in range(12)))
    for expected in (6, 0):  # the second resume finds everything
        assert all(reply.text for _, reply in model.reply(conversations))
        assert server.asked.total() - before.total() == expected
        before = Counter(server.asked)
    assert all(server.asked[text] == 1 for text in answered)


def test_ctrl_c_keeps_the_replies_under_way(server, tmp_path):
    server.script["text 00"] = [ok("late", wait=1.0)]
    server.hold = lambda text: text <= "text 02"
    command = [sys.executable, "-c", CHILD, server.url, str(tmp_path)]
    child = subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": KEY}, stderr=subprocess.PIPE)
    wait_for(lambda: server.asked["text 04"])  # 01 and 02 are there, 00, 03 and 04 under way
    child.send_signal(signal.SIGINT)
    time.sleep(0.5)
    server.wake.set()
    assert re.search("KeyboardInterrupt", child.communicate(timeout=60)[1].decode())
    assert server.asked.total() == kept(tmp_path) == 5
