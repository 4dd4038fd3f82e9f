"""A headless Chromium, spoken to in Chrome's DevTools protocol over a pipe, so that nothing else need be installed.

Debian: ``apt-get install chromium``.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
_SECONDS = 90.0
_KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}


class Browser:
    """One page.

    ``problems`` holds what the page threw or logged as an error; ``requests`` every address that it asked for.
    """

    def __init__(self, folder: str, width: int = 1280):
        assert PROGRAM is not None, "chromium is not installed"
        options = [
            "--headless=new",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={folder}",
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4. Not every sh can redirect descriptors above 9.
        shell = [
            "bash",
            "-c",
            f'exec "$@" 3<&{to_read} 4>&{to_write}',
            "bash",
            PROGRAM,
            *options,
            "--remote-debugging-pipe",
        ]
        self._process = subprocess.Popen(shell, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._ids: list[tuple[str, str]] = []
        self._width, self._scale = width, 1.0
        self._buffer, self._number, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            self._note(answer)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            got = os.read(self._in, 1 << 16)
            if not got:
                raise RuntimeError("chromium ended; is it installed?")
            self._buffer += got
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        kind, params = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif kind == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif kind == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
            self._ids.append((params["requestId"], params["request"]["url"]))

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise's, once it has one."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def bodies(self, part: str) -> list[str]:
        """What the page was answered, oldest first, at addresses that contain ``part``."""
        wanted = [request_id for request_id, url in self._ids if part in url]
        return [self.call("Network.getResponseBody", requestId=request_id)["body"] for request_id in wanted]

    def unnamed(self) -> list[str]:
        """Roles of what one can use but a screen reader cannot name."""
        used = {"button", "textbox", "combobox", "checkbox", "link", "image", "dialog", "group"}
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        shown = [node for node in nodes if not node.get("ignored")]
        named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown if "role" in node]
        return [role for role, name in named if role in used and not name]

    def open(self, url: str, until: str) -> None:
        """Open ``url`` and wait for a condition in the page."""
        self.call("Page.navigate", url=url)
        self.until(until)

    def until(self, condition: str, seconds: float = _SECONDS) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited in vain for {condition}; problems: {self.problems}")
            time.sleep(0.1)

    def press(self, key: str, shift: bool = False) -> None:
        """Press a key where the focus is."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = _KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def prefer(self, scheme: str) -> None:
        """What the system is said to prefer: light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width: int, height: int = 1000, scale: float = 1.0, mobile: bool = False) -> None:
        """Set the size of the window."""
        self._width, self._scale = width, scale
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def picture(self, file: Path, height: int | None = None) -> None:
        """Write what the page shows, at its whole height unless one is given."""
        tall = height or int(self.evaluate("document.documentElement.scrollHeight"))
        self.resize(self._width, tall, self._scale)
        time.sleep(1)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End Chromium."""
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)


@contextmanager
def browser(width: int = 1280) -> Iterator[Browser]:
    """A browser that is gone after the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Browser(folder, width)
        try:
            yield made
        finally:
            made.close()
