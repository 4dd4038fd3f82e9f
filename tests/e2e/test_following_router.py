"""A server follows the router's alias: versions come and go while it answers; what cannot be used does not come."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.section import RegistrySection
from registry.store import Registry
from serving.config import Deployment
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import changed

STARTER = Path(__file__).parents[2] / "starter" / "router"
MODEL = "toy-router"

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not STARTER.is_dir(), reason="starter/router is not there")]


@pytest.fixture
def section(tmp_path: Path) -> RegistrySection:
    return RegistrySection(uri=f"sqlite:///{tmp_path}/mlflow.db", poll_seconds=0.3)


def register(registry: Registry, folder: Path, **header: Any) -> str:
    """The starter's router with some keys of its header changed, as champion."""
    shutil.copytree(STARTER, folder)
    file = folder / "router.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | header))
    return registry.register(MODEL, folder, {}, alias="champion").label


def wait_for(running: Server, version: str, reasons: int) -> dict[str, Any]:
    """/health, once it names this version and so many reasons."""
    end = time.monotonic() + 60
    while True:
        health: dict[str, Any] = httpx.get(f"{running.url}/health").json()
        if (health["router_version"], len(health["reasons"])) == (version, reasons):
            return health
        assert time.monotonic() < end, health
        time.sleep(0.05)


def reason(running: Server) -> str:
    """How an obvious query is routed; a toy may have said all before a busy machine has routed it."""
    body = {"model": "toy", "prompt": "How many singers do we have?", "max_tokens": 2000, "ignore_eos": True}
    for _ in range(10):
        reply = httpx.post(f"{running.url}/v1/completions", json=body, timeout=60).json()
        if reply["polydraft"]["reason"] != "undecided":
            break
    return str(reply["polydraft"]["reason"])


def test_versions_of_the_router_come_go_back_and_are_refused(
    deployment: Deployment, section: RegistrySection, tmp_path: Path
) -> None:
    registry = Registry.open(section)
    assert register(registry, tmp_path / "one") == "router@v1"
    router = {"model": f"registry://{MODEL}@champion"}
    followed = changed(deployment, registry=section.model_dump(), router=router)
    with server(followed, tmp_path) as running:
        wait_for(running, "router@v1", 0)
        assert reason(running) == "topic"
        register(registry, tmp_path / "two", min_confidence=1.0)
        wait_for(running, "router@v2", 0)
        assert reason(running) == "uncertain"
        register(registry, tmp_path / "three", topics=["sql", "math"])
        health = wait_for(running, "router@v2", 1)
        assert health["status"] == "degraded"
        assert "router@v3 is refused" in health["reasons"][0]
        assert reason(running) == "uncertain"
        registry.rollback(MODEL)
        wait_for(running, "router@v2", 0)
        registry.set_alias(MODEL, "champion", 1, expected_current=2)
        wait_for(running, "router@v1", 0)
        assert reason(running) == "topic"
    said = [line for line in running.log.read_text().splitlines() if "router@v3" in line]
    assert len(said) == 1
    assert "router@v2 stays" in said[0]
