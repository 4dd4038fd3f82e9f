"""Which cores the processes of a server may use."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoding.native.build import cache_folder
from serving.config import Deployment
from tests.e2e.processes import Server, server
from tests.e2e.test_faults import wait_for
from tests.e2e.test_lifecycle import changed

STARTER = Path(__file__).parents[2] / "starter" / "router"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]


@pytest.fixture(autouse=True)
def _claims_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other servers of this machine may have claimed what there is; the compiled kernel is the ordinary one."""
    kernels = cache_folder()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kernels.mkdir(parents=True, exist_ok=True)
    cache_folder().parent.mkdir(parents=True)
    cache_folder().symlink_to(kernels)


def core_of(running: Server) -> int | None:
    core: int | None = httpx.get(f"{running.url}/health", timeout=10).json()["own_core"]
    return core


def cores_of_threads(pid: int) -> dict[int, set[int]]:
    return {int(task.name): os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()}


def assert_apart(running: Server, core: int, others: set[int]) -> None:
    worker, members = running.worker(), running.members()
    assert [pid for pid in members if _parent(pid) == worker]  # the router
    threads = {task: cores for pid in members for task, cores in cores_of_threads(pid).items()}
    assert len(cores_of_threads(worker)) >= 4  # drafts, canary, router-sender
    assert threads.pop(worker) == {core}
    assert all(cores == others for cores in threads.values()), threads


@pytest.mark.skipif(not STARTER.is_dir(), reason="starter/router is not there")
def test_the_step_loop_has_a_core_and_all_others_keep_off(deployment: Deployment, tmp_path: Path) -> None:
    """The worker's other threads, the router, HTTP and main process; and so it is when the worker has died."""
    allowed = os.sched_getaffinity(0)
    drafts = {**deployment.drafts.model_dump(), "canary": {"requests": 10}}
    with server(changed(deployment, router={"model": str(STARTER)}, drafts=drafts), tmp_path) as running:
        core = core_of(running)
        assert core == max(allowed)
        wait_for(running, "ready")
        assert_apart(running, core, allowed - {core})
        os.kill(running.worker(), signal.SIGKILL)
        wait_for(running, "not ready")
        wait_for(running, "ready")
        assert core_of(running) == core
        assert_apart(running, core, allowed - {core})


@pytest.mark.parametrize(("own_core", "threads"), [(False, "1"), (True, "2")])
def test_without_a_core_of_its_own_nothing_is_pinned(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_core: bool, threads: str
) -> None:
    """Because the deployment says so, or because a step computes with two threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    section: dict[str, Any] = {**deployment.serving.model_dump(), "own_core": own_core}
    with server(changed(deployment, serving=section), tmp_path) as running:
        assert core_of(running) is None
        for pid in running.members():
            assert set(map(frozenset, cores_of_threads(pid).values())) == {frozenset(os.sched_getaffinity(0))}


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
