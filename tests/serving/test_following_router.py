"""The router's alias moves while a server runs."""

import json
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from configs.errors import RegistryError
from router.process import RouterProcess
from serving import following_router
from serving.config import Deployment
from serving.deployment import Resolved
from serving.following_router import RouterFollower, RouterVersion
from serving.health import health_document
from serving.swapping import DraftSwapper
from serving.wire import Load, Status, StepMessage
from tests.router.routers import toy_router
from tests.router.stub_encoder import StubEncoder
from tests.serving.test_engine import FakePool


class Registry:
    """Stands in for the resolver: answers with one version, or fails."""

    def __init__(self) -> None:
        self.label = "router@v1"
        self.error: Exception | None = None

    def resolve(self, reference: str, _name: str) -> Resolved:
        assert reference == "registry://toy-router@champion"
        if self.error is not None:
            raise self.error
        return Resolved(Path(self.label), self.label)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(following_router, "Resolver", lambda _deployment: registry)
    return registry


@pytest.fixture
def sent() -> list[RouterVersion]:
    return []


@pytest.fixture
def follower(registry: Registry, sent: list[RouterVersion]) -> RouterFollower:
    deployment = Deployment.model_validate({"name": "toy", "router": {"model": "registry://toy-router@champion"}})
    return RouterFollower(deployment, "router@v1", sent.append)


def test_a_moved_alias_is_handed_on_once(
    follower: RouterFollower, registry: Registry, sent: list[RouterVersion]
) -> None:
    follower.look()
    assert sent == []
    registry.label = "router@v2"
    follower.look()
    follower.look()
    registry.label = "router@v1"
    follower.look()
    assert [version.label for version in sent] == ["router@v2", "router@v1"]


def test_a_registry_that_is_gone_is_said_once_and_asked_again(
    follower: RouterFollower, registry: Registry, sent: list[RouterVersion], caplog: pytest.LogCaptureFixture
) -> None:
    registry.error = RegistryError("no registry answers")
    for _ in range(3):
        follower.look()
    assert [record.getMessage() for record in caplog.records] == ["the router stays as it is: no registry answers"]
    registry.error, registry.label = None, "router@v5"
    follower.look()
    assert [version.label for version in sent] == ["router@v5"]


def test_a_folder_is_not_followed(registry: Registry, sent: list[RouterVersion]) -> None:
    deployment = Deployment.model_validate(
        {"name": "toy", "router": {"model": "/a/folder"}, "registry": {"poll_seconds": 0.01}}
    )
    RouterFollower(deployment, "router", sent.append).start()
    registry.label = "router@v2"
    time.sleep(0.1)
    assert sent == []


@pytest.fixture
def process(tmp_path: Path) -> Iterator[RouterProcess]:
    toy_router().save(tmp_path / "v1")
    process = RouterProcess(tmp_path / "v1", StubEncoder, label="router@v1")
    yield process
    process.close()


@pytest.fixture
def pipe() -> tuple[Connection, Connection]:
    return get_context("spawn").Pipe(duplex=False)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.01)


def reason(process: RouterProcess) -> str:
    """How an obvious query is decided now."""
    process.submit("a", "select count rows")
    decided: list[tuple[int | str, object]] = []
    until(lambda: decided.extend(process.poll()) or decided)
    return str(getattr(decided[0][1], "reason", ""))


def test_the_router_takes_over_between_two_steps_and_a_bad_one_never_does(
    process: RouterProcess, pipe: tuple[Connection, Connection], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NaN, and another embedding model: refused with one line each, and the version before goes on deciding."""
    versions, send = pipe
    swapper = DraftSwapper(FakePool(), versions, process)  # type: ignore[arg-type]
    until(lambda: process.ready)

    def arrives(label: str, done: Callable[[], object]) -> None:
        send.send(RouterVersion(label, tmp_path / label.rpartition("@")[2]))
        until(lambda: swapper.install() or done())

    toy_router(min_confidence=1.0).save(tmp_path / "v2")
    assert reason(process) == "topic"
    arrives("router@v2", lambda: process.label == "router@v2")
    until(lambda: swapper.install() or swapper._awaited is None)
    assert reason(process) == "uncertain"
    toy_router().save(tmp_path / "v3")
    header = json.loads((tmp_path / "v3" / "router.json").read_text())
    (tmp_path / "v3" / "router.json").write_text(json.dumps({**header, "scope_bias": float("nan")}))
    arrives("router@v3", lambda: swapper.refused)
    assert "router@v3 is refused" in swapper.refused
    assert "\n" not in swapper.refused
    toy_router(StubEncoder(fingerprint="another")).save(tmp_path / "v4")
    arrives("router@v4", lambda: "router@v4" in swapper.refused)
    assert "trained on another embedding model" in swapper.refused
    assert (process.label, reason(process)) == ("router@v2", "uncertain")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("router@v2 stays" in line and "\n" not in line for line in said)
    toy_router().save(tmp_path / "v5")
    arrives("router@v5", lambda: process.label == "router@v5")
    until(lambda: swapper.install() or not swapper.refused)
    assert reason(process) == "topic"
    send.close()


def test_health_names_the_version_that_decides_and_the_one_that_cannot() -> None:
    """Also after the way from the worker to the HTTP process."""

    class Dispatcher:
        worker_died = False
        status = StepMessage.from_json(
            StepMessage(Status(1, Load(), "ready", None, (), "router@v2", "router@v3 is refused: NaN")).to_json()
        ).status

    document = health_document("toy", 1, Dispatcher())  # type: ignore[arg-type]
    assert (document["status"], document["router"], document["router_version"]) == ("degraded", "ready", "router@v2")
    assert document["reasons"] == ["the router stays as it is: router@v3 is refused: NaN"]
