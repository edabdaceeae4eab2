"""Describe-and-Dissect from the command line, with a language model behind a server on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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


class Server(ThreadingHTTPServer):
    """Answers as the key phrases do; `most` requests, then it keeps silent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.answered, self.keys = Counter(), 0, set()
        self.most: float = float("inf")
        self.lock, self.closed = threading.Lock(), threading.Event()

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_POST(self):
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.keys.add(self.headers["Authorization"])
            if server.answered >= server.most:
                silent = True
            else:
                silent = False
                server.answered += 1
                server.asked[json.dumps(body, sort_keys=True)] += 1
        if silent:
            server.closed.wait(60)
            return
        turns = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        [(_, reply)] = KeyPhrases().reply([turns])
        message = {"role": "assistant", "content": reply.text}
        answer: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        answer["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
        answer["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.closed.set()
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_run_with_a_key_needs_nothing_else_and_pays_for_no_reply_twice_when_killed(server, tmp_path):
    env = {**os.environ, "OPENAI_API_KEY": KEY, "DISSECTBENCH_HOME": str(tmp_path / "home")}
    url = f"language_model.base_url=http://127.0.0.1:{server.server_port}/v1"
    command = [*RUN, "language_model=openai", url, "language_model.max_cost_usd=5"]
    command.append("language_model.prices=[0.15,0.6]")  # no list price is known for this server
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
    assert server.asked.most_common(1)[0][1] == 1, "a request was sent twice"
    assert server.keys == {f"Bearer {KEY}"}
    records = [
        json.loads(line) for line in (tmp_path / "runs/paid/descriptions.jsonl").read_text().splitlines()
    ]
    assert [record["status"] for record in records] == ["ok"] * 6
    assert "gpt-4o-mini" in done.stdout

    answered = server.answered
    other = [argument.replace("name=paid", "name=other") for argument in command]
    assert subprocess.run(other, env=env, cwd=tmp_path, check=False).returncode == 0
    assert server.answered == answered, "another run with the same parts asks for nothing"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".png"]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
