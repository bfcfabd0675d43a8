"""A headless Chromium, driven by its own driver over plain HTTP (WebDriver); nothing else is needed for that."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Browser:
    """One window."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._session = ""

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One command of the protocol; its value."""
        request = urllib.request.Request(  # noqa: S310  # the driver's own address on loopback
            f"{self._base}{self._session}{path}",
            data=None if method in {"GET", "DELETE"} else json.dumps(body or {}).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)["value"]

    def begin(self, profile: str, *, dark: bool, size: tuple[int, int]) -> None:
        """Open the window."""
        switches = [*SWITCHES, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        if dark:
            switches.append("--force-dark-mode")
        options = {"binary": CHROMIUM, "args": switches}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        value = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{value['sessionId']}"

    def open(self, path: Path) -> None:
        """Load a file."""
        self.call("POST", "/url", {"url": path.as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What a script's `return` gives."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def console(self) -> list[dict[str, Any]]:
        """What the page has written to the console, errors of loading and of its policy too."""
        return cast("list[dict[str, Any]]", self.call("POST", "/se/log", {"type": "browser"}))

    def move(self, x: float, y: float, *, click: bool = False) -> None:
        """Move the pointer there, in pixels of the window; and press its button, if wanted."""
        steps: list[dict[str, Any]] = [{"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}]
        if click:
            steps += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self.call("POST", "/actions", {"actions": [pointer]})

    def picture(self) -> bytes:
        """What is to be seen, PNG."""
        return base64.b64decode(self.call("GET", "/screenshot"))

    def end(self) -> None:
        """Close the window."""
        if self._session:
            self.call("DELETE", "")


@contextmanager
def browser(*, dark: bool = False, size: tuple[int, int] = (1366, 1400)) -> Generator[Browser]:
    """A window of a new headless browser; the test is skipped if none is installed."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with chromium-driver is installed: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="failover-browser-") as profile:
        process = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ}
        )
        try:
            assert process.stdout is not None
            port = _port(process.stdout)
            window = Browser(f"http://127.0.0.1:{port}")
            try:
                window.begin(profile, dark=dark, size=size)
                yield window
            finally:
                window.end()
        finally:
            process.terminate()
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()


def _port(output: IO[str]) -> int:
    for line in output:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rpartition(" ")[2])
    raise AssertionError("chromedriver has ended without telling its port")
