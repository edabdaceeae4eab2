"""Drives a headless Chromium through its debugging pipe; needs no other package."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXECUTABLE = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)


_CODES = {"Tab": 9, "Enter": 13, "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39}


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


class Page:
    """One page of a browser, opened at `width` x `height` pixels, light or dark."""

    def __init__(
        self, profile: Path, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        assert EXECUTABLE is not None
        # Chromium reads commands from file descriptor 3 and writes replies to 4, each ended by a NUL. The
        # pipes are moved to high numbers first, so that neither overwrites the other.
        (commands, self._command), (self._reply, replies) = _pipe(), _pipe()
        self._process = os.posix_spawn(
            EXECUTABLE,
            [EXECUTABLE, *_FLAGS, f"--user-data-dir={profile}"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, commands, 3),
                (os.POSIX_SPAWN_DUP2, replies, 4),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        os.close(commands)
        os.close(replies)
        self._numbers, self._buffer, self._session = itertools.count(1), b"", None
        self.problems: list[str] = []
        self.own = ("file:", "data:", "about:")
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._command, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == number:
                assert "error" not in reply, reply
                return reply["result"]
            self._note(reply)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._reply, 1 << 16)
            assert part, "Chromium has ended"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        """Remembers errors, violations of the policy, and requests that leave the page."""
        method, content = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(content["exceptionDetails"]))
        elif method == "Log.entryAdded" and content["entry"]["level"] == "error":
            self.problems.append(content["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = content["request"]["url"]
            if not url.startswith(self.own):
                self.problems.append(f"request: {url}")

    def open(self, path: Path, fragment: str = "") -> None:
        """Opens a file and waits until it is loaded."""
        self._send("Page.navigate", url="about:blank")
        self._send("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.wait("location.protocol === 'file:' && document.readyState === 'complete'")

    def visit(self, url: str) -> None:
        """Opens a page of a server and waits until it is loaded."""
        self.own = (*self.own, "/".join(url.split("/")[:3]) + "/")
        self._send("Page.navigate", url="about:blank")
        self._send("Page.navigate", url=url)
        self.wait("location.protocol === 'http:' && document.readyState === 'complete'")

    def leave(self, action: Callable[[], object]) -> None:
        """Does what leads to another page, and waits until that is loaded."""
        self.run("window.left = true")
        action()
        self.wait("!window.left && document.readyState === 'complete'")

    def back(self) -> None:
        """Presses the back button."""
        self.leave(lambda: self._go(-1))

    def _go(self, step: int) -> None:
        history = self._send("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] + step]
        self._send("Page.navigateToHistoryEntry", entryId=entry["id"])

    def click(self, selector: str) -> None:
        """Clicks the centre of an element with the mouse, after scrolling to it."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'nearest'}})")
        box = self.run(f"(({element}).getBoundingClientRect()).toJSON()")
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **point)

    def run(self, script: str) -> Any:
        """Evaluates an expression and returns its value."""
        reply = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"!!({condition})"):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Presses a key."""
        # Keys with an effect of their own need a code; Enter presses a button by the text that it types.
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = {"windowsVirtualKeyCode": _CODES[key]} if key in _CODES else {}
        self._send("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **text)
        self._send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Saves what is visible, or the whole page, as PNG."""
        reply = self._send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(reply["data"]))

    def media(self, name: str) -> None:
        """Shows the page as on "screen" or in "print"."""
        self._send("Emulation.setEmulatedMedia", media=name)

    def pdf(self) -> bytes:
        """Prints the page and returns the PDF."""
        return base64.b64decode(self._send("Page.printToPDF")["data"])

    def memory(self) -> float:
        """Returns the bytes of the page's JavaScript heap."""
        return self._send("Runtime.getHeapUsage")["usedSize"]

    def close(self) -> None:
        """Ends the browser."""
        try:
            self._session = None
            self._send("Browser.close")
        finally:
            os.waitpid(self._process, 0)
            os.close(self._command)
            os.close(self._reply)
