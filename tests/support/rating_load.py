"""Many raters at once, through raw sockets, while the rating page may be killed and started again."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urljoin

from rating_server import address

from dissectbench.results.studies import Study
from dissectbench.results.studies.server.store import read_rows


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServerProcess:
    """The command `study serve` in a process of its own, on a port that stays the same."""

    def __init__(self, study: Study, log: Path) -> None:
        self.port, self._study, self._log = free_port(), study, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server; requests wait or are refused until it listens."""
        command = [sys.executable, "-m", "dissectbench.harness", "study", "serve", str(self._study.path)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self, number: signal.Signals) -> None:
        """Sends a signal and waits for the end."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)


@dataclass
class Load:
    """What happened to the raters.

    Attributes:
        acknowledged: comment that was sent and acknowledged, by (number of the rater, task).
        seconds: time of each acknowledgement, from the sending of the answer to the redirect.
        page_seconds: time of each page of a task.
        unanswered: requests without a reply, because the server was killed or not yet started.
        statuses: statuses that are no success.
    """

    acknowledged: dict[tuple[int, str], str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    page_seconds: list[float] = field(default_factory=list)
    unanswered: int = 0
    statuses: list[int] = field(default_factory=list)


class _Connection:
    """A connection that is kept open, and opened again when it is lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str, bytes]:
        """Returns status, Location and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            body = b"" if form is None else urlencode(form).encode()
            head = f"{'GET' if form is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\n"
            if form is not None:
                head += (
                    f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
                )
            writer.write(head.encode() + b"\r\n" + body)
            reply = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(re.findall(r"(?im)^content-length: (\d+)", reply)[0])
            location = re.findall(r"(?im)^location: (\S+)", reply)
            return int(reply.split()[1]), "".join(location), await reader.readexactly(length)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _rate(
    study: Study, port: int, number: int, load: Load, think: Callable[[], float], images: bool
) -> None:
    """Takes part as one rater until no task is left."""
    connection, start = _Connection(port), address(study, number)
    path, form = start, None
    while True:
        sent = time.perf_counter()
        try:
            status, location, body = await connection.send(path, form)
        except (OSError, EOFError):
            load.unanswered += 1
            await asyncio.sleep(0.05 + 0.1 * random.random())
            # As a person does: load the link again.
            path, form = start, None
            continue
        elapsed = time.perf_counter() - sent
        if status == 303:
            if form is not None and "comment" in form:
                load.acknowledged[number, form["task_id"]] = form["comment"]
                load.seconds.append(elapsed)
            path, form = urljoin(path, location), None
            continue
        if status != 200:
            load.statuses.append(status)
            await asyncio.sleep(0.1)
            path, form = start, None
            continue
        page = body.decode()
        fields = {
            name: unescape(text) for name, text in re.findall(r'name="(\w+)" value="([^"]*)">', page)
        }
        if "task_id" in fields:
            load.page_seconds.append(elapsed)
            if images:
                for name in re.findall(r'src="([^"]+)"', page):
                    await connection.send(urljoin(path, name))
            await asyncio.sleep(think())
            names = set(re.findall(r'name="(rating_\d+)"', page))
            ratings = {name: str(random.randint(1, 5)) for name in names}
            form = {**fields, **ratings, "best": "none", "comment": f"{random.getrandbits(64):x}"}
            path = urljoin(path, "../answer")
        elif "form" in fields:
            path, form = urljoin(path, "consent"), fields
        elif 'href="task/1"' in page:
            path = urljoin(path, "task/1")
        else:
            assert "completion code" in page, page
            connection.close()
            return


async def rate_under_load(
    study: Study,
    server: ServerProcess,
    *,
    raters: int,
    kills: list[float],
    think: Callable[[], float],
    images: bool = False,
) -> Load:
    """Lets many raters answer everything.

    Args:
        study: the study.
        server: the server; it must run.
        raters: number of raters.
        kills: after how many seconds the server is killed by SIGKILL and started again.
        think: returns the seconds that a rater takes for a task.
        images: whether raters load the images too.
    """
    load = Load()

    async def kill() -> None:
        begin = time.monotonic()
        for moment in sorted(kills):
            await asyncio.sleep(max(0.0, begin + moment - time.monotonic()))
            server.stop(signal.SIGKILL)
            server.start()

    tasks = [_rate(study, server.port, n, load, think, images) for n in range(raters)]
    killer = asyncio.create_task(kill())
    await asyncio.gather(*tasks)
    await killer
    return load


def check_nothing_is_lost(study: Study, load: Load) -> int:
    """Asserts that acknowledged answers are stored, unchanged and once; returns how many are stored."""
    stored = read_rows(study)[1]
    by_key = {(row.rater, row.task): row.values["comment"] for row in stored}
    assert len(by_key) == len(stored), "an answer is stored twice"
    for (number, task), comment in load.acknowledged.items():
        assert by_key.get((study.rater("link", str(number)), task)) == comment, "an answer is lost"
    return len(stored)
