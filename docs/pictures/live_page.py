"""Take the pictures of the live page that docs/seeing.md shows.

Needs Chromium (Debian: ``apt-get install chromium fonts-inter``)::

    python docs/pictures/live_page.py

serves the starter from a registry of its own, asks it the prompts of `benchmarks.prompts` for some minutes, promotes
the general draft as a version of the sql draft by hand, waits until the canary has gone back from it, and writes
beside this file ``live_light.png``, ``live_dark.png`` and ``live_phone.png``. Everything in them is measured, so it
takes a quiet machine: on a busy one costs are measured wrong, and drafts rest that would pay.
"""

import itertools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
from browser import Browser, browser

from benchmarks.prompts import OWN
from registry.names import CHAMPION, Reference, draft_model
from registry.section import RegistrySection
from serving.client import running_server
from serving.config import Deployment
from serving.deployment import open_registry

HERE = Path(__file__).parent
_CLIENTS = 3
_BEFORE, _AFTER, _MOST = 60, 45, 240  # seconds
_READY = "document.getElementById('draft')?.length > 2 && document.querySelectorAll('#matrix .live').length > 5"
_RACED = "!document.getElementById('verdict').hidden"


class Traffic:
    """Clients that ask one prompt after another; every third is about sql."""

    def __init__(self, url: str):
        others = [topic for topic in OWN if topic != "sql"]
        turns = [topic for other in others for topic in ("sql", other, other)]
        self._prompts = itertools.cycle([OWN[topic][n % len(OWN[topic])] for n in range(16) for topic in turns])
        self._url, self._ended, self._lock = url, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._ended.is_set():
                with self._lock:
                    prompt = next(self._prompts)
                messages = [{"role": "user", "content": prompt}]
                asked = {"model": "starter", "messages": messages, "temperature": 0, "max_tokens": 64}
                client.post("/v1/chat/completions", json=asked).raise_for_status()

    def end(self) -> None:
        """Wait for the last answers."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


def promote_worse(deployment: Deployment) -> None:
    """Register the general draft as a version of the sql draft, and make it champion, past the gate."""
    registry = open_registry(deployment)
    model = draft_model(deployment.name, "sql")
    ours = registry.get(Reference(model, CHAMPION, None))
    general = registry.get(Reference(draft_model(deployment.name, "general"), CHAMPION, None))
    registry.register(model, general.folder, {**ours.tags, "topic": "sql"}, alias=CHAMPION)


def wait_for_rollback(url: str) -> None:
    """Until the canary has gone back, or for as long as anybody would wait."""
    end = time.monotonic() + _MOST
    while time.monotonic() < end:
        if any(each["what"] == "rolled back" for each in httpx.get(f"{url}/live.json").json()["changes"]):
            return
        time.sleep(1)
    raise SystemExit("the canary has not gone back")


def take(page: Browser, url: str) -> None:
    """All three, of one race."""
    page.open(url, _READY)
    page.evaluate("document.querySelector('[data-range=\"15m\"]').click()")
    page.press("1")  # a first answer, so that nothing is met for the first time
    page.until(_RACED)
    page.press("3")
    time.sleep(0.5)
    page.until(_RACED)
    page.evaluate("document.getElementById('answer').focus()")
    corrected = "[...document.querySelectorAll('#answer .t')].findIndex((t, n) => n > 20 && t.matches('.corrected'))"
    for _ in range(page.evaluate(corrected)):
        page.press("ArrowRight")
    time.sleep(2.5)
    for name, width, scheme in (("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "dark")):
        page.prefer(scheme)
        page.resize(width, mobile=width < 640)
        time.sleep(2.5)
        page.picture(HERE / f"live_{name}.png")


def main() -> None:
    """Write the pictures."""
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    if busy > cores / 4 and "--anyway" not in sys.argv:
        raise SystemExit(f"this machine is busy (load {busy:.1f}): wait, or add --anyway")
    with tempfile.TemporaryDirectory() as folder:
        section = RegistrySection(uri=f"sqlite:///{folder}/mlflow.db", artifacts=f"{folder}/files", poll_seconds=1)
        deployment = Deployment(registry=section)
        with running_server(deployment) as url:
            traffic = Traffic(url)
            try:
                time.sleep(_BEFORE)
                promote_worse(deployment)
                wait_for_rollback(url)
                time.sleep(_AFTER)
            finally:
                traffic.end()
            with browser() as page:
                take(page, url)
                if page.problems:
                    raise SystemExit("\n".join(page.problems))


if __name__ == "__main__":
    main()
