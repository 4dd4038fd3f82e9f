"""The router in its own process: it answers, never blocks its parent, and does not outlive it."""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configs.errors import RouterError
from router.decision import RoutingDecision
from router.encoder import Embeddings
from router.process import RouterProcess
from tests.router.routers import toy_router
from tests.router.stub_encoder import StubEncoder

ROOT = Path(__file__).parents[2]
SECONDS = 30.0


class SlowEncoder(StubEncoder):
    """Takes ten seconds a batch, longer than any test waits for a call that must not block."""

    def encode(self, texts: list[str]) -> Embeddings:
        time.sleep(10.0)
        return super().encode(texts)


class EnvironmentEncoder(StubEncoder):
    """Its name tells how many threads the child was told to use."""

    def encode(self, texts: list[str]) -> Embeddings:
        if os.environ["OMP_NUM_THREADS"] != "1":
            raise RouterError("more than one thread")
        return super().encode(texts)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.01)


def collect(process: RouterProcess, count: int) -> dict[int | str, RoutingDecision]:
    decided: dict[int | str, RoutingDecision] = {}

    def enough() -> bool:
        decided.update(process.poll())
        return len(decided) >= count

    until(enough)
    return decided


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy_router().save(tmp_path / "router")
    return tmp_path / "router"


@pytest.fixture
def process(folder: Path) -> Iterator[RouterProcess]:
    process = RouterProcess(folder, EnvironmentEncoder)
    yield process
    process.close()


def test_answers_as_the_router_would_in_this_process(process: RouterProcess, folder: Path) -> None:
    """Every query gets the decision of the same router called directly, under its own id, also before it is ready."""
    texts = ["select count rows from table", "how many apples left", "list files in directory", "play a song"] * 20
    for number, text in enumerate(texts):
        process.submit(number, text)
    decided = collect(process, len(texts))
    router = toy_router()
    assert process.ready
    assert process.error == ""
    for number, text in enumerate(texts):
        expected = router.decide(text)
        assert (decided[number].topic, decided[number].reason) == (expected.topic, expected.reason)
        assert decided[number].confidence == pytest.approx(expected.confidence, abs=1e-5)
    assert process.poll() == []


def test_submit_never_waits_for_the_child(folder: Path) -> None:
    """Thousands of long queries are taken in a moment while the child is busy with one, and close() still ends it."""
    process = RouterProcess(folder, SlowEncoder)
    until(lambda: process.ready)
    started = time.monotonic()
    for number in range(3000):
        process.submit(number, "select " * 5000)
        assert process.poll() == []
    assert time.monotonic() - started < 3.0
    process.close()
    assert not process.ready


def test_a_bad_router_is_reported_and_not_fatal(tmp_path: Path) -> None:
    """A folder without a router leaves ready False with the reason, and a good folder can be loaded afterwards."""
    process = RouterProcess(tmp_path, StubEncoder)
    until(lambda: process.error)
    assert not process.ready
    assert "no router.json in" in process.error
    process.submit(1, "select rows")
    toy_router().save(tmp_path / "good")
    process.reload(tmp_path / "good")
    until(lambda: process.ready)
    process.submit(2, "select rows")
    answered: dict[int | str, object] = {}  # the first query may have waited long enough to be answered too
    until(lambda: answered.update(process.poll()) or 2 in answered)
    process.close()


def test_reload_swaps_the_router_and_keeps_the_old_one_if_the_new_is_bad(process: RouterProcess, folder: Path) -> None:
    """After a reload the new threshold decides; after a failed reload the last good router still answers."""
    router = toy_router(min_confidence=1.0)
    router.save(folder.parent / "strict")
    until(lambda: process.ready)
    process.submit("before", "select count rows")
    assert collect(process, 1)["before"].reason == "topic"
    process.reload(folder.parent / "strict")
    process.submit("strict", "select count rows")
    assert collect(process, 1)["strict"].reason == "uncertain"
    process.reload(folder.parent / "nowhere")
    until(lambda: process.error)
    assert process.ready
    process.submit("after", "select count rows")
    assert collect(process, 1)["after"].reason == "uncertain"


def test_the_configured_threshold_overrides_the_stored_one(folder: Path) -> None:
    """min_confidence given to the process decides instead of the router's own."""
    process = RouterProcess(folder, StubEncoder, min_confidence=1.0)
    process.submit(1, "select count rows")
    assert collect(process, 1)[1].reason == "uncertain"
    process.close()


def test_a_child_that_dies_is_reported_and_can_be_started_again(process: RouterProcess, folder: Path) -> None:
    """When the child is killed, ready falls, error says so, submit goes on not blocking, and reload starts anew."""
    until(lambda: process.ready)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.ready)
    assert "ended" in process.error
    process.submit(1, "select rows")
    process.reload(folder)
    until(lambda: process.ready)
    process.submit(2, "select rows")
    assert set(collect(process, 1)) == {2}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are pinned on Linux")
def test_the_child_keeps_to_the_cores_it_is_given(process: RouterProcess, folder: Path) -> None:
    """Also one that is started in place of a dead one; the caller stays where it is, and so do others' children."""
    allowed = os.sched_getaffinity(0)
    pinned = RouterProcess(folder, StubEncoder, cores=frozenset({max(allowed)}))
    assert os.sched_getaffinity(pinned.pid or 0) == {max(allowed)}
    assert os.sched_getaffinity(process.pid or 0) == os.sched_getaffinity(0) == allowed
    os.kill(pinned.pid or 0, signal.SIGKILL)
    until(lambda: pinned.error)
    pinned.reload(folder)
    assert os.sched_getaffinity(pinned.pid or 0) == {max(allowed)}
    pinned.close()


def test_the_child_ends_with_its_parent(folder: Path) -> None:
    """A parent that is killed without a chance to clean up leaves no router process behind."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from router.process import RouterProcess\n"
        "from tests.router.stub_encoder import StubEncoder\n"
        "if __name__ == '__main__':\n"
        f"    process = RouterProcess(Path({str(folder)!r}), StubEncoder)\n"
        "    while not process.ready: time.sleep(0.01)\n"
        "    print(process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    until(functools.partial(_is_gone, child))
    parent.stdout.close()


def test_closing_twice_is_harmless(process: RouterProcess) -> None:
    """close() ends the child at once, and a second call does nothing."""
    until(lambda: process.ready)
    process.close()
    process.close()
    assert not process.ready


def _is_gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
