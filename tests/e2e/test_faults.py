"""The fault table of docs/operate.md, row by row, on toy models; each test is named in its row.

How long it took until all was normal is a property of each test, under the row's name; `python -m tests.e2e.faults`
prints them.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import openai
import pytest
from safetensors.torch import load_file, save_file

from decoding.checkpoint import fingerprint
from drafts.compatibility import tokenizer_fingerprint
from registry.section import RegistrySection
from registry.store import Registry
from serving.config import Deployment
from tests.e2e.mlflow_server import MlflowServer
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import LONG, changed
from tests.serving.toy_folder import write_model, write_tokenizer

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

MODEL = "toy-draft-sql"
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


Since = Callable[[str, float], None]


@pytest.fixture
def normal_since(record_property: Callable[[str, object], None]) -> Since:
    """Says that all is normal now, after a fault of that name that began, or was mended, at a time (monotonic)."""

    def record(fault: str, began: float) -> None:
        record_property(fault, time.monotonic() - began)

    return record


def test_a_killed_worker_comes_back(deployment: Deployment, tmp_path: Path, normal_since: Since) -> None:
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
        normal_since("worker killed", killed)
        assert running.worker() != first
        assert health(running)["free_slots"] == health(running)["slots"]
        running.signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        assert running.wait_gone() == {}


def test_a_worker_that_hangs_is_ended_and_comes_back(
    deployment: Deployment, tmp_path: Path, normal_since: Since
) -> None:
    """It is stopped in the middle: whoever waits gets an error at the deadline, and the next worker serves the same."""
    impatient = changed(deployment, serving={**deployment.serving.model_dump(), "deadline_seconds": 4.0})
    with server(impatient, tmp_path) as running, ThreadPoolExecutor() as pool:
        before, first = text(running), running.worker()
        os.kill(first, signal.SIGSTOP)
        stopped = time.monotonic()
        stuck = pool.submit(ask, running)
        assert stuck.result().status_code == 504
        wait_for(running, "not ready")
        wait_for(running, "ready")
        assert text(running) == before
        normal_since("worker hangs (deadline 4 s)", stopped)
        assert running.worker() != first


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


class Store:
    """A registry with versions of the sql draft, and a deployment that follows it."""

    def __init__(self, deployment: Deployment, toys: Path, section: RegistrySection):
        self.registry, self._toys = Registry.open(section), toys
        drafts = deployment.drafts.model_dump()
        drafts["topics"]["sql"] = {"model": f"registry://{MODEL}@champion"}
        drafts["canary"] = {"requests": 0}
        self.deployment = changed(deployment, registry=section.model_dump(), drafts=drafts)

    def promote(self, folder: Path | str, **tags: str) -> str:
        """Register a folder as the champion; its label."""
        target = self._toys / "target"
        facts = {"target": fingerprint(target), "tokenizer": tokenizer_fingerprint(target), **tags}
        made = self.registry.register(MODEL, self._toys / folder, {"topic": "sql", **facts}, alias="champion")
        return f"sql@v{made.version}"


@pytest.fixture
def store(deployment: Deployment, toys: Path, tmp_path: Path) -> Store:
    made = Store(deployment, toys, RegistrySection(uri=f"sqlite:///{tmp_path}/mlflow.db", poll_seconds=0.3))
    made.promote("math")
    return made


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path)
    made.start()
    yield made
    made.kill()


def drafted(running: Server) -> str:
    document = ask(running, draft="sql").json()
    label: str = document["polydraft"]["draft"]
    return label


def wait_for_draft(running: Server, label: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while (draft := drafted(running)) != label:
        assert time.monotonic() < end, (draft, health(running))
        time.sleep(0.05)


def test_a_killed_registry_costs_nothing_but_news(
    deployment: Deployment, toys: Path, tmp_path: Path, mlflow: MlflowServer, normal_since: Since
) -> None:
    """Serving goes on, degraded; once it is back, what was promoted is taken up without anybody's help."""
    store = Store(deployment, toys, RegistrySection(uri=mlflow.url, poll_seconds=0.3, timeout_seconds=2))
    first = store.promote("math")
    with server(store.deployment, tmp_path / "server") as running:
        said = text(running, draft="sql")
        assert drafted(running) == first
        mlflow.kill()
        killed = time.monotonic()
        assert text(running, draft="sql") == said
        normal_since("registry killed", killed)
        document = wait_for(running, "degraded", "not followed: draft sql: no registry answers at")
        assert document["free_slots"] == document["slots"]
        assert (text(running, draft="sql"), drafted(running)) == (said, first)
        mlflow.start()
        back = time.monotonic()
        wait_for(running, "ready")
        normal_since("registry back", back)
        second = store.promote("sql")
        wait_for_draft(running, second)
        assert text(running, draft="sql") == said


def test_candidates_that_cannot_serve_are_refused_and_the_champion_stays(
    store: Store, toys: Path, tmp_path: Path, normal_since: Since
) -> None:
    """Cut short, without numbers, of another tokenizer: /health says which and why until a good one comes."""
    foreign, damaged, broken = (tmp_path / name for name in ("foreign", "damaged", "broken"))
    write_tokenizer(foreign)
    vocabulary = json.loads((foreign / "tokenizer.json").read_text())
    tokens = vocabulary["model"]["vocab"]
    tokens["a"], tokens["b"] = tokens["b"], tokens["a"]
    (foreign / "tokenizer.json").write_text(json.dumps(vocabulary))
    write_model(foreign)
    for folder in (damaged, broken):
        shutil.copytree(toys / "sql", folder)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    numbers = load_file(broken / "model.safetensors")
    next(iter(numbers.values()))[0] = float("nan")
    save_file(numbers, broken / "model.safetensors")
    with server(store.deployment, tmp_path / "server") as running:
        said, first = text(running, draft="sql"), drafted(running)
        for folder, tags, reason in (
            (damaged, {}, "damaged"),
            (broken, {}, "NaN or infinite"),
            (foreign, {"tokenizer": tokenizer_fingerprint(foreign)}, "tokenizer"),
        ):
            label = store.promote(folder, **tags)
            document = wait_for(running, "degraded", reason)
            assert label in " ".join(document["reasons"])
            assert (text(running, draft="sql"), drafted(running)) == (said, first)
        label, mended = store.promote("sql"), time.monotonic()
        wait_for_draft(running, label)
        assert wait_for(running, "ready")["reasons"] == []
        normal_since("candidates that cannot serve", mended)
        assert text(running, draft="sql") == said


def test_an_alias_that_moves_during_a_swap_ends_where_it_points_last(
    store: Store, tmp_path: Path, normal_since: Since
) -> None:
    """While answers run, which never change by a character."""
    with server(store.deployment, tmp_path / "server") as running, ThreadPoolExecutor() as pool:
        said, is_over = text(running, draft="sql", max_tokens=300), Event()

        def keep_asking() -> int:
            answers = 0
            while not is_over.is_set():
                assert text(running, draft="sql", max_tokens=300) == said
                answers += 1
            return answers

        asking = [pool.submit(keep_asking) for _ in range(2)]
        last = ""
        for folder in ("sql", "math", "general", "math", "sql"):
            last = store.promote(folder)
        moved = time.monotonic()
        wait_for_draft(running, last)
        normal_since("alias moved during a swap", moved)
        is_over.set()
        assert min(each.result() for each in asking) > 0
        assert "ERROR" not in running.log.read_text()


def test_two_servers_on_one_registry_follow_the_same_alias(store: Store, tmp_path: Path, normal_since: Since) -> None:
    """One may be killed: the other neither notices nor loses the registry."""
    with server(store.deployment, tmp_path / "one") as one, server(store.deployment, tmp_path / "two") as two:
        assert text(one, draft="sql") == (said := text(two, draft="sql"))
        second = store.promote("sql")
        for running in (one, two):
            wait_for_draft(running, second)
        one.signal(signal.SIGKILL)
        third, promoted = store.promote("math"), time.monotonic()
        wait_for_draft(two, third)
        normal_since("two servers on one registry, one killed", promoted)
        assert text(two, draft="sql") == said
        assert one.wait_gone() == {}


def test_a_full_disk_costs_traces_and_nothing_else(deployment: Deployment, tmp_path: Path, normal_since: Since) -> None:
    """Dropped and counted; written again once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("may not mount a small disk here; test_traces.py takes the folder away instead")
    try:
        (disk / "other").write_bytes(bytes(60_000))
        traces = {"enabled": True, "folder": str(disk / "traces"), "segment_seconds": 0.01}
        with server(changed(deployment, traces=traces), tmp_path / "server") as running:
            said = text(running, max_tokens=200)
            document = wait_for(running, "degraded", "traces cannot be written and are dropped")
            assert document["traces"]["dropped"] >= 1
            assert text(running, max_tokens=200) == said
            (disk / "other").unlink()
            mended = time.monotonic()
            end = mended + 60
            while health(running)["status"] != "ready":
                assert text(running) == said[: len(text(running))]
                assert time.monotonic() < end, health(running)
            normal_since("trace disk full", mended)
            assert health(running)["traces"]["written"] >= 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_sigterm_under_load_finishes_what_was_taken_in(
    deployment: Deployment, tmp_path: Path, normal_since: Since
) -> None:
    """Running and waiting requests get their whole answers; then nothing is left."""
    with server(deployment, tmp_path) as running, ThreadPoolExecutor(10) as pool:
        said = text(running, max_tokens=2400)
        slots = health(running)["slots"]
        asking = [pool.submit(ask, running, max_tokens=2400) for _ in range(slots + 4)]
        end = time.monotonic() + 60
        while (load := health(running))["running"] + load["waiting"] < slots + 4:
            assert time.monotonic() < end, load
        running.signal(signal.SIGTERM)
        told = time.monotonic()
        replies = [each.result() for each in asking]
        assert [reply.status_code for reply in replies] == [200] * (slots + 4)
        assert {reply.json()["choices"][0]["text"] for reply in replies} == {said}
        assert running.process.wait(60) == 0
        assert running.wait_gone() == {}
        normal_since("SIGTERM under load", told)
        assert running.log.read_text() == ""
