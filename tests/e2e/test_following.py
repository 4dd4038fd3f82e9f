"""A server follows its registry: other versions of a draft come and go while it answers."""

import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file, save_file

from decoding.checkpoint import fingerprint
from drafts.compatibility import tokenizer_fingerprint
from registry.names import Reference
from registry.section import RegistrySection
from registry.store import Registry
from registry.verdicts import judge, refuse
from serving.config import Deployment
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import changed

pytestmark = pytest.mark.e2e

MODEL = "toy-draft-sql"


@pytest.fixture
def section(tmp_path) -> RegistrySection:
    return RegistrySection(uri=f"sqlite:///{tmp_path}/mlflow.db", poll_seconds=0.3)


@pytest.fixture
def registry(section, toys) -> Registry:
    registry = Registry.open(section)
    register(registry, toys, "math")
    return registry


@pytest.fixture
def followed(deployment, section, registry) -> Deployment:
    drafts = deployment.drafts.model_dump()
    drafts["topics"]["sql"] = {"model": f"registry://{MODEL}@champion"}
    return changed(deployment, registry=section.model_dump(), drafts=drafts)


def register(registry: Registry, toys: Path, folder: str | Path, **tags: str) -> int:
    facts = {"target": fingerprint(toys / "target"), "tokenizer": tokenizer_fingerprint(toys / "target"), **tags}
    version = registry.register(MODEL, toys / folder, {"topic": "sql", **facts}, alias="champion")
    return version.version


def ask(running: Server, **fields: Any) -> tuple[str, str]:
    """The text of an answer, and who drafted it."""
    body = {"model": "toy", "prompt": "the", "temperature": 0, "max_tokens": 40, "ignore_eos": True, "draft": "sql"}
    reply = httpx.post(f"{running.url}/v1/completions", json={**body, **fields}, timeout=60)
    reply.raise_for_status()
    document = reply.json()
    return document["choices"][0]["text"], document["polydraft"]["draft"]


def wait_for(running: Server, label: str) -> str:
    """Ask until ``label`` drafts; the text, which is the same all the time."""
    first, _ = ask(running)
    end = time.monotonic() + 20
    while True:
        text, draft = ask(running)
        assert text == first
        if draft == label:
            return text
        assert time.monotonic() < end, f"{draft} still drafts, not {label}"
        time.sleep(0.05)


def wait_to_read(running: Server, what: str) -> None:
    """Until the server's log says it."""
    end = time.monotonic() + 20
    while what not in (log := running.log.read_text()):
        assert time.monotonic() < end, log
        time.sleep(0.05)


def test_versions_come_and_go_back_and_the_answers_stay(followed, registry, toys, tmp_path):
    with server(followed, tmp_path) as running:
        text, draft = ask(running)
        assert draft == "sql@v1"
        assert register(registry, toys, "sql") == 2
        assert wait_for(running, "sql@v2") == text == ask(running, draft="none")[0]
        registry.rollback(MODEL)
        assert wait_for(running, "sql@v1") == text


def test_what_became_of_versions_is_in_the_metrics(followed, registry, toys, tmp_path):
    """While serving; the versions need not be the server's."""

    def wait_for_verdicts(running: Server, **wanted: float) -> None:
        end = time.monotonic() + 20
        while True:
            lines = httpx.get(f"{running.url}/metrics").text.splitlines()
            found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("polydraft_distill_candidates{"))
            if found == {
                f'polydraft_distill_candidates{{topic="sql",verdict="{verdict}"}}': f"{count:.1f}"
                for verdict, count in wanted.items()
            }:
                return
            assert time.monotonic() < end, found
            time.sleep(0.1)

    with server(followed, tmp_path) as running:
        wait_for_verdicts(running)
        number = register(registry, toys, "sql")
        version = registry.get(Reference(MODEL, None, number))
        judge(registry, version, "promoted", "by hand")
        wait_for_verdicts(running, promoted=1)
        refuse(registry, registry.get(Reference(MODEL, None, 1)), "behind")
        judge(registry, version, "rolled back", "canary")
        wait_for_verdicts(running, **{"refused": 1, "rolled back": 1})


def test_a_version_that_does_not_fit_is_refused_and_the_one_before_stays(followed, registry, toys, tmp_path):
    """Made for another target, then one that holds no numbers; the good version after them is taken up."""
    broken = tmp_path / "broken"
    shutil.copytree(toys / "sql", broken)
    weights = load_file(broken / "model.safetensors")
    next(iter(weights.values()))[0] = float("nan")
    save_file(weights, broken / "model.safetensors")
    with server(followed, tmp_path) as running:
        text, _ = ask(running)
        register(registry, toys, "sql", target="0" * 64)
        wait_to_read(running, "draft sql stays as it is")
        assert ask(running) == (text, "sql@v1")
        register(registry, toys, broken)
        wait_to_read(running, "draft sql@v3 is refused, the one before stays")
        assert ask(running) == (text, "sql@v1")
        register(registry, toys, "sql")
        assert wait_for(running, "sql@v4") == text
    assert running.log.read_text().count("ERROR") == 2


def test_a_topic_that_the_registry_gains_joins_a_running_server(followed, registry, toys, tmp_path):
    """A request may name its draft from then on, and its answer is the one before; before that it is refused."""
    follows = changed(followed, drafts={**followed.drafts.model_dump(), "follow": True})
    with server(follows, tmp_path) as running:
        text, _ = ask(running)
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            ask(running, draft="medical")
        tags = {"target": fingerprint(toys / "target"), "tokenizer": tokenizer_fingerprint(toys / "target")}
        registry.register("toy-draft-medical", toys / "math", {"topic": "medical", **tags}, alias="champion")
        end = time.monotonic() + 20
        while httpx.get(f"{running.url}/health", timeout=20).json()["topics"]["added"] != ["medical"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert ask(running, draft="medical") == (text, "medical@v1")
