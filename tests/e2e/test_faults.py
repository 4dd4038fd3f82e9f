"""The fault table of docs/operate.md, row by row, on toy models; each test is named in its row."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from serving.config import Deployment
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import LONG

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

SHORT: Any = {"model": "toy", "prompt": "the", "temperature": 0, "max_tokens": 20, "ignore_eos": True}


def ask(running: Server, **fields: Any) -> httpx.Response:
    return httpx.post(f"{running.url}/v1/completions", json={**SHORT, **fields}, timeout=60)


def text(running: Server, **fields: Any) -> str:
    reply = ask(running, **fields)
    assert reply.status_code == 200, reply.text
    said: str = reply.json()["choices"][0]["text"]
    return said


def health(running: Server) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{running.url}/health", timeout=10).json()
    return document


def wait_for(running: Server, status: str, reason: str = "", seconds: float = 60) -> dict[str, Any]:
    """Until /health says so; what it says then."""
    end = time.monotonic() + seconds
    while (document := health(running))["status"] != status or reason not in " ".join(document["reasons"]):
        assert time.monotonic() < end, document
        time.sleep(0.05)
    return document


def test_a_killed_worker_comes_back(deployment: Deployment, tmp_path: Path) -> None:
    """Streams and answers end with a clear error at once, newcomers get 503 until the next one serves the same."""
    with server(deployment, tmp_path) as running, ThreadPoolExecutor() as pool:
        before, first = text(running), running.worker()
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
            chunks = client.completions.create(**LONG, stream=True)
            next(iter(chunks))
            whole = pool.submit(ask, running, max_tokens=8000)
            while health(running)["running"] < 2:
                time.sleep(0.01)
            os.kill(first, signal.SIGKILL)
            killed = time.monotonic()
            with pytest.raises(openai.APIError, match="the model process died"):
                list(chunks)
            lost = whole.result()
            assert time.monotonic() - killed < 5
        assert (lost.status_code, lost.json()["error"]["code"]) == (503, "model_process_died")
        document = health(running)
        assert (document["status"], document["reasons"]) == (
            "not ready",
            ["the model process died and is started again"],
        )
        refused = ask(running)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        wait_for(running, "ready")
        assert text(running) == before
        assert running.worker() != first
        assert health(running)["free_slots"] == health(running)["slots"]
        running.signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        assert running.wait_gone() == {}


def test_a_worker_that_cannot_live_ends_the_server(deployment: Deployment, tmp_path: Path) -> None:
    """Started again a few times; then the supervisor is told by exit code 2, and nothing is left."""
    with server(deployment, tmp_path) as running:
        end = time.monotonic() + 120
        while running.process.poll() is None:
            assert time.monotonic() < end, running.log.read_text()
            try:
                os.kill(running.worker(), signal.SIGKILL)
            except (ValueError, ProcessLookupError, FileNotFoundError):
                time.sleep(0.05)
        assert running.process.wait() == 2
        assert running.wait_gone() == {}
        assert "error: the model process died" in running.log.read_text()
