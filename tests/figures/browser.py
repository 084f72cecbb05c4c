"""Chromium without a head, driven over its debugging pipe: nothing but the standard library.

Commands and events are those of the DevTools protocol, JSON texts that end with a zero byte; the
browser reads them from its descriptor 3 and answers on 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0
"""Seconds to wait for the browser; a machine may be busy."""
LOCAL = ("file:", "data:", "blob:", "about:")


def find_browser() -> str | None:
    """Return the path of a Chromium: that of the variable CHROMIUM, or one on the path."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One tab. Keeps what the page says and asks for: `problems` and `requests`."""

    def __init__(self, program: str, profile: Path) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._profile, self._count, self._rest = profile, 0, b""
        self._answers: dict[int, dict[str, Any]] = {}
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()
        # High numbers, so that neither is overwritten while 3 and 4 are put in place.
        low, high = (fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (theirs_read, theirs_write))

        def connect() -> None:
            os.dup2(low, 3)
            os.dup2(high, 4)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=connect,  # the browser wants these very descriptors
            pass_fds=(3, 4),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (low, high, theirs_read, theirs_write):
            os.close(descriptor)
        self._read, self._write = ours_read, ours_write
        self._session: str | None = None
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.command(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        session, self._session = self._session, None
        try:
            self.command("Browser.close")
        except (OSError, AssertionError):
            self.process.kill()
        self._session = session
        self.process.wait(PATIENCE)
        os.close(self._read)
        os.close(self._write)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        number, end = self._count, time.monotonic() + PATIENCE
        while number not in self._answers:
            self._receive(end)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, end: float) -> None:
        while b"\0" not in self._rest:
            ready = select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0]
            assert ready, f"the browser said nothing for {PATIENCE:.0f} s"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        text, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(text)
        if "id" in message:
            self._answers[message["id"]] = message
        else:
            self._note(message["method"], message["params"])

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(about["exceptionDetails"])[:500])
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.problems.append(json.dumps(about["args"])[:500])
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(about["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, of a promise what it becomes."""
        answer = self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, url: str, ready: str) -> None:
        """Open an address and wait until an expression is true."""
        self.command("Page.navigate", url=url)
        self.wait(ready)

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        # While a page loads there may be nothing yet to ask about.
        asked = f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"
        while not self.evaluate(asked):
            assert time.monotonic() < end, f"{expression} did not become true; {self.problems}"
            time.sleep(0.05)

    def press(self, key: str, code: int) -> None:
        """Press and release a key, e.g. ArrowRight, 39."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        if key == "Enter":
            about["text"] = "\r"
        self.command("Input.dispatchKeyEvent", type="keyDown", **about)
        self.command("Input.dispatchKeyEvent", type="keyUp", **about)

    def emulate(self, scheme: str = "light", medium: str = "") -> None:
        """Prefer light or dark; show the page on a medium, e.g. print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=medium, features=features)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Save a picture of the page, PNG."""
        answer = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print_pdf(self) -> bytes:
        """Return the page as it is printed."""
        return base64.b64decode(self.command("Page.printToPDF", printBackground=True)["data"])

    def foreign_requests(self) -> list[str]:
        """Return the addresses that were asked for and lie outside this machine's files."""
        return [url for url in self.requests if not url.startswith(LOCAL)]
