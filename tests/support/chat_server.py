"""A local server with the chat-completions API."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatHandler(BaseHTTPRequestHandler):
    """Answers each request with `server.answer(body, headers)`; sends nothing if that is None."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def respond(self, body: dict[str, Any]) -> None:
        server: Any = self.server
        content = server.answer(body, self.headers)
        if content is not None:
            self.send(200, content)

    def send(self, status: int, content: Any, headers: Mapping[str, Any] | None = None) -> None:
        """Sends strings unchanged and anything else as JSON."""
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, str(value() if callable(value) else value))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class ChatServer(ThreadingHTTPServer):
    """Listens on a free port until it is shut down."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        answer: Callable[[dict[str, Any], Any], Any] | None = None,
        handler: type[ChatHandler] = ChatHandler,
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.answer = answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client closed the connection

    @contextmanager
    def listening(self) -> Iterator[None]:
        arguments = {"poll_interval": 0.02}
        threading.Thread(target=self.serve_forever, kwargs=arguments, daemon=True).start()
        yield
        self.shutdown()
        self.server_close()


def completion(message: str | Mapping[str, Any], prompt_tokens: int = 20, reply_tokens: int = 5) -> Any:
    """Returns the body of an answer with one choice: a text, or a message with other fields."""
    fields = {"content": message} if isinstance(message, str) else message
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **fields}}
    total = prompt_tokens + reply_tokens
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": reply_tokens, "total_tokens": total}
    answer = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return {**answer, "choices": [choice], "usage": usage}
