"""Take the pictures of MLflow's pages that docs/draft.md shows.

Needs Chromium (Debian: ``apt-get install chromium``) and the pages being served by ``make ui``::

    python docs/pictures/mlflow_pages.py sql

writes beside this file ``mlflow_draft.png`` (the draft with its versions), and of the run that made the newest version
``mlflow_run.png`` (outcome, data, parameters) and ``mlflow_curves.png``. Chromium is driven through a pipe, so that
nothing else need be installed.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
_WIDTH = 1280
# The assistant's panel takes a third of the page and says nothing about drafts; nor does its button.
_CLOSE = """document.querySelector('[data-component-id="mlflow.assistant.chat_panel.close"]')?.click()"""
_HIDE = """document.head.insertAdjacentHTML('beforeend',
  '<style>[data-component-id="mlflow.assistant.fab"], .modebar { display: none !important }</style>')"""
_FOLD_TAGS = (
    """[...document.querySelectorAll('[role=button]')].find(each => each.innerText.trim() === 'Tags')?.click()"""
)
_SEARCH = """document.querySelector('input[placeholder^="Search metric"]').focus()"""
_DRAWN = "document.querySelectorAll('svg.main-svg').length > 0 && !document.querySelector('.animate-spin')"


class Browser:
    """A headless Chromium with one page, spoken to in Chrome's DevTools protocol over a pipe."""

    def __init__(self, folder: str):
        program = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
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
        # Chromium reads commands from descriptor 3 and answers on 4.
        shell = [
            "sh",
            "-c",
            f'exec "$@" 3<&{to_read} 4>&{to_write}',
            "sh",
            program,
            *options,
            "--remote-debugging-pipe",
        ]
        self._process = subprocess.Popen(shell, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self._resize(1000)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
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

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, url: str, wait_for: str) -> None:
        """Open ``url``, wait until the page says ``wait_for``, and put the assistant away."""
        self.call("Page.navigate", url=url)
        self._until(f"document.body?.innerText.includes({json.dumps(wait_for)})")
        self.evaluate(_CLOSE)
        time.sleep(3)
        self.evaluate(_HIDE)

    def draw(self, charts: str) -> None:
        """Show the charts whose names match ``charts``, and wait until they are drawn."""
        self.evaluate(_SEARCH)
        self.call("Input.insertText", text=charts)
        self._until(_DRAWN)
        time.sleep(5)  # a chart is an empty frame for a while

    def _until(self, condition: str) -> None:
        deadline = time.monotonic() + 90
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited in vain for {condition}")
            time.sleep(0.5)

    def _resize(self, height: int) -> None:
        size = {"width": _WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def picture(self, file: Path, height: int = 1000) -> None:
        """Write what the page shows."""
        self._resize(height)
        time.sleep(2)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End Chromium."""
        self._process.terminate()
        self._process.wait()


def newest_run(server: str, model: str) -> tuple[str, str]:
    """Experiment and run of the newest version of ``model``."""
    api = f"{server}/api/2.0/mlflow"
    order = {"filter": f"name = '{model}'", "order_by": "version_number DESC", "max_results": 1}
    found = httpx.get(f"{api}/model-versions/search", params=order).raise_for_status().json()
    run_id = found["model_versions"][0]["run_id"]
    run = httpx.get(f"{api}/runs/get", params={"run_id": run_id}).raise_for_status().json()
    return run["run"]["info"]["experiment_id"], run_id


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic")
    parser.add_argument("--server", default="http://127.0.0.1:5000")
    parser.add_argument("--name", default="starter", help="of the deployment")
    options = parser.parse_args()
    model = f"{options.name}-draft-{options.topic}"
    experiment, run = newest_run(options.server, model)
    training = "?workflowType=machine_learning"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(folder)
        try:
            browser.open(f"{options.server}/#/models/{model}{training}", "Version 1")
            browser.evaluate(_FOLD_TAGS)
            browser.picture(HERE / "mlflow_draft.png", height=1240)
            page = f"{options.server}/#/experiments/{experiment}/runs/{run}"
            browser.open(f"{page}{training}", "Datasets")
            browser.picture(HERE / "mlflow_run.png", height=1300)
            browser.open(f"{page}/model-metrics{training}", "acceptance")
            browser.draw("^acceptance/alpha|^loss")
            browser.picture(HERE / "mlflow_curves.png", height=1000)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
