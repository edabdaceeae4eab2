"""Runs the rating page in a thread, and takes part in its studies through plain HTTP."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode, urljoin

import uvicorn

from dissectbench.results.studies import Study
from dissectbench.results.studies.server.app import make_app
from dissectbench.results.studies.server.limits import WrongTokens
from dissectbench.results.studies.server.serve import listen
from dissectbench.results.studies.server.tokens import rater_token, slug


@dataclass
class Reply:
    """The response to a request."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode()


@contextmanager
def serving(*studies: Study, wrong_tokens: WrongTokens | None = None) -> Iterator[int]:
    """Serves studies in a thread; yields the port."""
    app = make_app(studies, wrong_tokens=wrong_tokens)
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", server_header=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def request(
    port: int, path: str, form: Mapping[str, str] | None = None, *, method: str = "", **headers: str
) -> Reply:
    """Sends one request on a connection of its own: GET, or POST with a form."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = None if form is None else urlencode(form)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        sent.setdefault("content-type", "application/x-www-form-urlencoded")
    connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
    response = connection.getresponse()
    reply = Reply(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())
    connection.close()
    return reply


def address(study: Study, number: int = 1) -> str:
    """The path of the link of a rater."""
    return f"/s/{slug(study)}/{rater_token(study, study.rater('link', str(number)))}/"


@dataclass
class Rater:
    """A rater who uses the page without a script.

    Attributes:
        port: port of the server.
        start: path of the rater's link.
        path: path of the page that was loaded last.
        page: that page.
        tasks: the tasks that were answered, in order.
    """

    port: int
    start: str
    path: str = ""
    page: str = ""
    tasks: list[str] = field(default_factory=list)

    def go(self, path: str, form: Mapping[str, str] | None = None) -> Reply:
        """Loads a page relative to the present one, and follows redirects as a browser does."""
        self.path = urljoin(self.path or self.start, path)
        reply = request(self.port, self.path, form)
        while reply.status == 303:
            self.path = urljoin(self.path, reply.headers["location"])
            reply = request(self.port, self.path)
        self.page = reply.text
        return reply

    def fields(self) -> dict[str, str]:
        """The hidden fields of the form."""
        found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', self.page)
        return {name: unescape(value) for name, value in found}

    def join(self) -> None:
        """Opens the link, consents, and loads the first task."""
        self.go(self.start)
        if 'action="consent"' in self.page:
            self.go("consent", self.fields())
        if 'href="task/' in self.page:
            self.go("task/1")

    @property
    def task(self) -> str:
        """The task on the screen; empty on other pages."""
        return self.fields().get("task_id", "")

    def values(self) -> dict[str, str]:
        """A complete answer to the task on the screen."""
        names = sorted(set(re.findall(r'name="(rating_\d+)"', self.page)))
        if not names:
            return {"fits": "yes"}
        return {name: str(1 + k % 5) for k, name in enumerate(names)} | {"best": "1"}

    def answer(self, **changes: str) -> Reply:
        """Sends an answer to the task on the screen."""
        task = self.task
        reply = self.go("../answer", {**self.fields(), **self.values(), **changes})
        if reply.status == 200:
            self.tasks.append(task)
        return reply

    def finish(self, most: int = 1000) -> None:
        """Answers until no task is left."""
        for _ in range(most):
            if not self.task:
                return
            assert self.answer().status == 200


def until(condition, seconds: float = 20.0) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
