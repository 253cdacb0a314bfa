"""Chromium without a window, driven by the DevTools protocol over a pipe: no driver and no port are needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
            "--hide-scrollbars", "--disable-dev-shm-usage")  # fmt: skip
PATIENCE = 60.0  # seconds for an answer
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowDown": 40, "ArrowRight": 39}


class Page:
    """One page."""

    def __init__(self, write: int, read: int):
        self.write, self.read = write, read
        self.rest, self.number, self.session = b"", 0, None
        self.told: list[str] = []  # on the console, errors too
        self.loaded = 0
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            if not select([self.read], [], [], PATIENCE)[0]:
                raise TimeoutError("Chromium does not answer")
            piece = os.read(self.read, 2**20)
            if not piece:
                raise EOFError("Chromium went away")
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(line)
        if message.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.told.append(json.dumps(message["params"]))
        self.loaded += message.get("method") == "Page.loadEventFired"
        return message

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": given}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def show(self, path: Path, width: int = 980, height: int = 700, dark: bool = False) -> None:
        """Load a file in a window of this size and of light or dark preference."""
        self.visit(path.as_uri(), width, height, dark)

    def visit(self, url: str, width: int = 980, height: int = 700, dark: bool = False) -> None:
        """Load an address in a window of this size and of light or dark preference."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        before = self.loaded
        self.ask("Page.navigate", url=url)
        while self.loaded == before:
            self._next()

    def run(self, script: str) -> Any:
        """The value of an expression."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def until(self, script: str, patience: float = 300.0) -> Any:
        """Wait until an expression is true and return its value; TimeoutError where it takes longer."""
        begun = time.monotonic()
        while not (value := self.run(script)):
            if time.monotonic() - begun > patience:
                raise TimeoutError(f"{script} stayed {value!r}")
            time.sleep(0.2)
        return value

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an input of type file."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key: str, times: int = 1) -> None:
        """Press a key as a keyboard does."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        given = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        for _ in range(times):
            self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **given)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **given)

    def picture(self, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))["data"])

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def printed(self) -> bytes:
        """A PDF of the page."""
        return base64.b64decode(self.ask("Page.printToPDF")["data"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a Chromium that is gone afterwards; `profile` is a folder for its files."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = ["bash", "-c", 'exec "$0" "$@" 3<&%d 4>&%d' % (to_read, from_write), str(CHROMIUM), *SWITCHES]  # noqa: UP031
    with open(profile.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}"], pass_fds=(to_read, from_write), stdout=log, stderr=log
        )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Page(to_write, from_read)
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(from_read)
