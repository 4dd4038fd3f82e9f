"""A worse draft, promoted by hand before a server that follows its registry."""

import shutil
import time

import httpx
import pytest

from decoding.checkpoint import fingerprint
from drafts.compatibility import tokenizer_fingerprint
from registry.names import CHAMPION, Reference
from registry.section import RegistrySection
from registry.store import Registry
from registry.verdicts import promote
from serving.config import Deployment
from serving.deployment import STARTER
from tests.e2e.processes import Server, server

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MODEL = "toy-draft-sql"
THINGS = ["customers", "orders", "flights", "singers", "students", "teachers", "cars", "hotels", "books", "players"]
WISHES = ["How many {} are there?", "List all {}.", "Which {} are older than {n}?", "What is the mean age?"]
QUESTIONS = [wish.format(thing, n=n) for n in range(20, 28) for thing in THINGS for wish in WISHES]


@pytest.fixture
def registry(tmp_path) -> Registry:
    """The starter's draft for SQL is champion v1; v2 is its draft for shell commands, under the same name."""
    registry = Registry.open(RegistrySection(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    tags = {
        "target": fingerprint(STARTER / "target"),
        "tokenizer": tokenizer_fingerprint(STARTER / "target"),
        "topic": "sql",
        "alpha": "0.7",
    }
    registry.register(MODEL, STARTER / "drafts" / "sql", tags, alias=CHAMPION)
    folder = tmp_path / "worse"
    shutil.copytree(STARTER / "drafts" / "shell", folder)
    registry.register(MODEL, folder, tags)
    return registry


@pytest.fixture
def deployment(tmp_path) -> Deployment:
    return Deployment.model_validate(
        {
            "name": "toy",
            "target": {"model": str(STARTER / "target")},
            "drafts": {"general": None, "topics": {"sql": {"model": f"registry://{MODEL}@champion"}}},
            "router": None,
            "registry": {"uri": f"sqlite:///{tmp_path}/mlflow.db", "poll_seconds": 0.3},
        }
    )


def ask(running: Server, question: str, draft: str = "sql") -> tuple[str, str]:
    """The answer, and who drafted it."""
    body = {"model": "toy", "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 24}
    reply = httpx.post(f"{running.url}/v1/chat/completions", json={**body, "draft": draft}, timeout=60)
    reply.raise_for_status()
    document = reply.json()
    return document["choices"][0]["message"]["content"], document["polydraft"]["draft"]


def test_a_worse_version_promoted_by_hand_goes_back_by_itself(deployment, registry, tmp_path):
    """Within 300 of its requests; the alias too, with the reason at the version; every answer is plain decoding's."""
    with server(deployment, tmp_path / "served") as running:
        assert ask(running, QUESTIONS[0])[1] == "sql@v1"
        promote(registry, registry.get(Reference(MODEL, None, 2)), 1)
        _until(lambda: ask(running, QUESTIONS[0])[1] == "sql@v2")
        served = 0
        for question in QUESTIONS:
            text, draft = ask(running, question)
            served += draft == "sql@v2"
            if draft == "sql@v1":
                break
            assert text == ask(running, question, draft="none")[0]
        assert draft == "sql@v1", f"{served} requests, and nothing happened"
        assert served <= 300
        _until(lambda: registry.get(Reference(MODEL, CHAMPION, None)).version == 1)
        # Verdicts are written after the alias has moved.
        _until(lambda: registry.get(Reference(MODEL, None, 2)).tags["verdict"] == "rolled back")
        assert registry.get(Reference(MODEL, None, 2)).tags["verdict_reason"].startswith("canary: proposes")
        time.sleep(1)
        assert ask(running, QUESTIONS[0])[1] == "sql@v1", "the follower takes it up again"


def _until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
