"""Describe-and-Dissect from the command line, with a language model on a local server."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from chat_server import ChatServer, completion

from dissectbench.harness.foundation.key_phrases import KeyPhrases
from dissectbench.harness.foundation.protocols import Message

KEY = "sk-secret-0123456789"
RUN = [
    sys.executable,
    "-m",
    "dissectbench.harness",
    "run",
    "name=paid",
    "probe.images=120",
    "layers=[fc]",
]
RUN += ["units=6", "method=[describe_and_dissect]", "metric=[synonym_accuracy]", "table.resamples=100"]


class Server(ChatServer):
    """Answers `most` requests with key phrases, then no more."""

    def __init__(self):
        super().__init__(self.reply)
        self.requests, self.answered, self.keys = Counter(), 0, set()
        self.most: float = float("inf")
        self.lock, self.closed = threading.Lock(), threading.Event()

    def reply(self, body, headers):
        with self.lock:
            self.keys.add(headers["Authorization"])
            silent = self.answered >= self.most
            if not silent:
                self.answered += 1
                self.requests[json.dumps(body, sort_keys=True)] += 1
        if silent:
            self.closed.wait(60)
            return None
        turns = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        [(_, reply)] = KeyPhrases().reply([turns])
        return completion(reply.text or "", 100, 10)


@pytest.fixture
def server():
    server = Server()
    with server.listening():
        yield server
        server.closed.set()


@pytest.mark.slow
def test_a_killed_run_resumes_and_pays_for_no_reply_twice(server, tmp_path):
    env = {**os.environ, "OPENAI_API_KEY": KEY, "DISSECTBENCH_HOME": str(tmp_path / "home")}
    url = f"language_model.server.base_url={server.url}"
    command = [*RUN, "language_model=openai", url, "language_model.budget.max_cost_usd=5"]
    command.append("language_model.budget.prices=[0.15,0.6]")  # no list price is known for this server
    expected = subprocess.run(
        [*command, "--dry-run"], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "language-model calls" in expected.stdout
    assert server.answered == 0

    server.most = 20
    child = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while server.answered < 20:
        assert time.monotonic() < end
        assert child.poll() is None
        time.sleep(0.05)
    time.sleep(1)  # the replies reach the disk
    child.send_signal(signal.SIGKILL)
    child.wait()

    server.most = float("inf")
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert server.requests.most_common(1)[0][1] == 1, "a request was sent twice"
    assert server.keys == {f"Bearer {KEY}"}
    records = [
        json.loads(line) for line in (tmp_path / "runs/paid/descriptions.jsonl").read_text().splitlines()
    ]
    assert [record["status"] for record in records] == ["ok"] * 6
    assert "gpt-4o-mini" in done.stdout

    answered = server.answered
    other = [argument.replace("name=paid", "name=other") for argument in command]
    assert subprocess.run(other, env=env, cwd=tmp_path, check=False).returncode == 0
    assert server.answered == answered, "another run with the same models sends no request"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".png"]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
