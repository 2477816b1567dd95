"""A headless Chromium that tests drive over a pipe: pages from files, clicks, keys, pictures, and every error."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
_SECONDS = 60.0


class Browser:
    """One page of a browser, driven by the protocol of its developer tools.

    Args:
        write: The descriptor of the pipe to the browser.
        read: The descriptor of the pipe from the browser.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest, self._number = write, read, b"", 0
        self._session: str | None = None
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def open(self, page: Path, fragment: str = "", width: int = 1240) -> None:
        """Load a file in a window of some width, and wait until its script has finished."""
        self.errors.clear()
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.leave()  # so that a new fragment loads the file anew
        self.call("Page.navigate", url=f"{page.as_uri()}{fragment}")
        self.wait("document.documentElement.dataset.ready")

    def leave(self) -> None:
        """Load an empty page."""
        self.call("Page.navigate", url="about:blank")

    def run(self, code: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        told = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait until an expression in the page is true, also while pages are loaded."""
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            with suppress(AssertionError):
                if value := self.run(condition):
                    return value
            time.sleep(0.02)
        raise AssertionError(f"the page never had {condition}")

    def click(self, selector: str) -> None:
        """Click an element as a person does."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{place}.scrollIntoView({{block: 'center'}})")
        x, y = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({place}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        """Move the pointer to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def type(self, text: str) -> None:
        """Write into the field that has the focus: all at once, as when a person pastes it."""
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose a value of a list."""
        change = "list.dispatchEvent(new Event('change', {bubbles: true}))"
        self.run(f"(list => {{ list.value = {json.dumps(value)}; {change}; }})(document.querySelector('{selector}'))")

    def picture(self, path: Path, *, dark: bool = False, whole: bool = True) -> None:
        """A picture of the page as a PNG file."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        png = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(png))

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], _SECONDS)[0], "the browser does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        kind, content = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown" or (
            kind == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert")
        ):
            self.errors.append(json.dumps(content))
        if kind == "Log.entryAdded":
            self.errors.append(content["entry"]["text"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser that ends with the block.

    Args:
        profile: A folder for its files.
    """
    assert CHROMIUM is not None
    (its_read, write), (read, its_write) = os.pipe(), os.pipe()
    shell = f'exec {CHROMIUM} "$@" 3<&{its_read} 4>&{its_write}'
    words = ["bash", "-c", shell, "chromium", *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        words, pass_fds=(its_read, its_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(its_read)
    os.close(its_write)
    try:
        yield Browser(write, read)
    finally:
        os.close(write)
        os.close(read)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
