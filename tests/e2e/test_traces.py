"""Traces of a real server: kept where its file says so, whole when it has ended."""

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoding.checkpoint import fingerprint
from decoding.trace import SpeculationTrace
from decoding.trace_reader import TraceReader
from serving.config import Deployment
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import changed

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


def tracing(deployment: Deployment, folder: Path, **keys: Any) -> Deployment:
    return changed(deployment, traces={"enabled": True, "folder": str(folder), **keys})


def say(running: Server, **fields: Any) -> dict[str, Any]:
    body = {"model": "toy", "prompt": "the", "temperature": 0, "max_tokens": 20, "ignore_eos": True, **fields}
    reply = httpx.post(f"{running.url}/v1/completions", json=body, timeout=60)
    reply.raise_for_status()
    document: dict[str, Any] = reply.json()
    return document


def health(running: Server) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{running.url}/health").json()
    return document


def wait_for(running: Server, **counts: int) -> None:
    end = time.monotonic() + 10
    while any(health(running)["traces"][name] < count for name, count in counts.items()):
        assert time.monotonic() < end, health(running)
        time.sleep(0.05)


def read(folder: Path) -> list[SpeculationTrace]:
    return list(TraceReader(folder))


def test_what_is_served_is_traced_and_written_when_the_server_ends(deployment, toys, tmp_path):
    """By topic and draft; not who opts out. The answers are those that were given."""
    folder = tmp_path / "traces"
    with server(tracing(deployment, folder), tmp_path) as running:
        told = say(running, draft="sql", polydraft={"tokens": True})
        say(running, draft="none", temperature=1.0, seed=4)
        say(running, draft="sql", polydraft={"trace": False})
        assert health(running)["traces"] == {"written": 0, "dropped": 0}
        assert read(folder) == []
        running.signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        assert running.log.read_text() == ""
    drafted, plain = read(folder)
    assert (drafted.topic, drafted.draft, plain.topic, plain.draft) == ("sql", "sql", None, None)
    assert drafted.target == plain.target == fingerprint(toys / "target")
    assert drafted.answer_ids == [token["id"] for run in told["polydraft"]["tokens"] for token in run["tokens"]]
    assert len(drafted.run_lengths) == told["polydraft"]["num_target_runs"] < len(plain.run_lengths) == 20
    assert (plain.sampling.temperature, plain.sampling.seed) == (1.0, 4)


def test_stop_strings_early_leavers_and_a_lost_disk(deployment, tmp_path):
    """The HTTP process finds a stop string; who leaves leaves no trace; without a disk requests are served anyway."""
    folder = tmp_path / "traces"
    with server(tracing(deployment, folder, segment_seconds=0.01), tmp_path) as running:
        text = say(running, draft="none", max_tokens=200)["choices"][0]["text"]
        cut = say(running, draft="none", max_tokens=7000, stop=text[40:60])
        body = {"model": "toy", "prompt": "an", "temperature": 0, "max_tokens": 7000, "ignore_eos": True}
        with httpx.stream("POST", f"{running.url}/v1/completions", json={**body, "stream": True}, timeout=60) as reply:
            next(reply.iter_lines())
        wait_for(running, written=2)
        say(running, draft="none", max_tokens=3)
        wait_for(running, written=3)
        assert health(running)["traces"] == {"written": 3, "dropped": 0}
        whole, stopped, last = read(folder)
        assert (len(whole.answer_ids), len(last.answer_ids), stopped.finish_reason) == (200, 3, "stop")
        assert cut["usage"]["completion_tokens"] <= len(stopped.answer_ids) < 7000
        shutil.rmtree(folder)
        folder.touch()
        say(running)
        wait_for(running, dropped=1)
        document = health(running)
        assert (document["status"], document["traces"]) == ("degraded", {"written": 3, "dropped": 1})
        assert "traces cannot be written and are dropped" in document["reasons"][0]
        assert say(running)["choices"][0]["finish_reason"] == "length"
    assert running.log.read_text().count("traces cannot be written") == 1


def test_nothing_is_traced_by_default(http, deployment):
    """And /health says so."""
    assert not deployment.traces.enabled
    assert http.get("/health").json()["traces"] is None
