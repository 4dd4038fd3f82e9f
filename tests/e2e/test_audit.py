"""The audit of a running server: silent about one that is right, loud about one that is not."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.config import Deployment
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import changed

pytestmark = pytest.mark.e2e

BODY: Any = {"model": "toy", "temperature": 0, "max_tokens": 40, "draft": "math", "num_draft_tokens": 3}
PROMPTS = ["the one", "an other", "on in"]


@pytest.fixture
def audited(deployment: Deployment) -> Deployment:
    """Every greedy answer is compared."""
    return changed(deployment, serving={**deployment.serving.model_dump(), "audit_share": 1.0})


def audit_after(running: Server, answers: int) -> dict[str, Any]:
    """What /health says of the audit once ``answers`` are compared."""
    end = time.monotonic() + 20
    while True:
        health: dict[str, Any] = httpx.get(f"{running.url}/health").json()
        if health["audit"]["answers"] == answers:
            return health
        assert time.monotonic() < end, health
        time.sleep(0.05)


def ask_all(running: Server) -> None:
    for prompt in PROMPTS:
        httpx.post(f"{running.url}/v1/completions", json={**BODY, "prompt": prompt}, timeout=30).raise_for_status()


def test_right_answers_are_compared_and_nothing_is_said(audited: Deployment, tmp_path: Path) -> None:
    """Sampled ones are not; afterwards all is as it was, and the server ends at once."""
    with server(audited, tmp_path) as running:
        ask_all(running)
        httpx.post(f"{running.url}/v1/completions", json={**BODY, "prompt": "the", "temperature": 1}, timeout=30)
        health = audit_after(running, len(PROMPTS))
        assert (health["status"], health["audit"]["mismatches"]) == ("ready", 0)
        assert health["audit"]["tokens"] > 0
        assert health["free_slots"] == health["slots"]
        metrics = httpx.get(f"{running.url}/metrics").text
        assert f"polydraft_audit_answers_total {len(PROMPTS)}.0" in metrics
        assert "polydraft_audit_mismatches_total 0.0" in metrics


def test_a_server_that_believes_every_draft_finds_itself_out(audited: Deployment, tmp_path: Path) -> None:
    """Negative control: it says so in health, metrics and log, and goes on."""
    with server(audited, tmp_path, module="tests.e2e.broken_server") as running:
        ask_all(running)
        health = audit_after(running, len(PROMPTS))
        assert health["status"] == "degraded"
        assert health["audit"]["mismatches"] > 0
        assert health["audit"]["largest_gap"] > 0
        assert "differ from plain decoding" in " ".join(health["reasons"])
        assert 'polydraft_degraded{reason="audit"} 1.0' in httpx.get(f"{running.url}/metrics").text
        assert "differs from plain decoding at token" in running.log.read_text()
