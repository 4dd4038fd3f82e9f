"""A core for the step loop: servers claim different ones, and a claim ends with its last holder."""

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from serving.own_core import OwnCore, claim_core, computes_alone, keep_off_claimed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cores are claimed on Linux")

ROOT = Path(__file__).parents[2]
# On a machine of three cores, whatever this one has: claim, say which, hold it for ever.
HOLDER = """
import os, sys, time; from pathlib import Path
from serving.own_core import claim_core
os.sched_getaffinity, os.sched_setaffinity = lambda pid: {0, 1, 2}, lambda pid, cores: None
found = claim_core(Path(sys.argv[1]))
print(found.core if found else "none", flush=True)
time.sleep(60)
"""


def cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(count)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, _cores: None)


@contextlib.contextmanager
def holder(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another server: its process, and the core that it claimed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def hold(core: OwnCore, told: Connection) -> None:
    """What a spawned process does with a core that it is sent."""
    told.send((core.core, core.others))
    signal.pause()


class TestClaimCore:
    def test_two_servers_get_different_cores_and_the_third_none(self, tmp_path: Path) -> None:
        """The highest first; core 0 is left for everything else."""
        with holder(tmp_path) as (_, first), holder(tmp_path) as (_, second), holder(tmp_path) as (_, third):
            assert (first, second, third) == ("2", "1", "none")

    def test_a_claim_ends_when_its_holder_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody has to clean up."""
        cores(monkeypatch, 3)
        with holder(tmp_path) as (process, _), holder(tmp_path):
            assert claim_core(tmp_path) is None
            process.kill()
            process.wait()
            found = claim_core(tmp_path)
        assert found is not None
        assert (found.core, found.others) == (2, {0, 1})
        os.close(found.lock)

    def test_where_only_one_core_is_allowed_nothing_is_claimed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Two processes on one core would be no better apart."""
        cores(monkeypatch, 1)
        with caplog.at_level(logging.INFO):
            assert claim_core(tmp_path) is None
        assert "none of 1 is left" in caplog.text
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_written_costs_the_core_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Said once, and no error."""
        cores(monkeypatch, 3)
        (tmp_path / "file").touch()
        with caplog.at_level(logging.INFO):
            assert claim_core(tmp_path / "file") is None
        assert len(caplog.records) == 1
        assert "it cannot be claimed" in caplog.text

    def test_where_pinning_is_forbidden_nothing_is_claimed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Sandboxes may refuse the call; the server starts all the same."""

        def refuse(_pid: int, _cores: object) -> None:
            raise PermissionError("not here")

        cores(monkeypatch, 3)
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        with caplog.at_level(logging.INFO):
            assert claim_core(tmp_path) is None
        assert "not here" in caplog.text


class TestOwnCore:
    def test_whom_it_is_sent_to_holds_the_claim_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker that outlives the main process for a moment still computes there."""
        cores(monkeypatch, 2)
        found = claim_core(tmp_path)
        assert found is not None
        context = multiprocessing.get_context("spawn")
        told, tell = context.Pipe(duplex=False)
        worker = context.Process(target=hold, args=(found, tell), daemon=True)
        worker.start()
        assert told.recv() == (1, {0})
        os.close(found.lock)
        assert claim_core(tmp_path) is None
        worker.kill()
        worker.join()
        again = claim_core(tmp_path)
        assert again is not None
        os.close(again.lock)

    @pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
    def test_one_thread_takes_it_and_the_others_keep_off(self, tmp_path: Path) -> None:
        """Threads of before; and all may go everywhere again in the end."""
        allowed, ended = os.sched_getaffinity(0), threading.Event()
        other = threading.Thread(target=ended.wait)
        other.start()
        found = claim_core(tmp_path)
        try:
            assert found is not None
            assert found.others | {found.core} == allowed
            found.leave()
            assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id or 0) == found.others
            found.take()
            assert os.sched_getaffinity(0) == {found.core}
            assert os.sched_getaffinity(other.native_id or 0) == found.others
        finally:
            if found is not None:
                found.give_back()
            ended.set()
        assert os.sched_getaffinity(0) == allowed
        other.join()


def test_steps_that_compute_with_several_threads_need_several_cores() -> None:
    """Torch reads both variables."""
    assert computes_alone({"OMP_NUM_THREADS": "1"})
    assert computes_alone({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    assert not computes_alone({"OMP_NUM_THREADS": "2"})
    assert not computes_alone({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "4"})


class TestKeepOffClaimed:
    ALL = frozenset({0, 1, 2})

    def test_a_learner_leaves_the_cores_of_step_loops_and_comes_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And its looking leaves no claim behind: the next server gets the core."""
        placed: list[frozenset[int]] = []
        monkeypatch.setattr(os, "sched_setaffinity", lambda _thread, given: placed.append(frozenset(given)))
        assert keep_off_claimed(self.ALL, tmp_path) == self.ALL
        with holder(tmp_path) as (_, first):
            assert first == "2"
            assert keep_off_claimed(self.ALL, tmp_path) == {0, 1} == placed[-1]
            with holder(tmp_path) as (_, second):
                assert second == "1"
                assert keep_off_claimed(self.ALL, tmp_path) == {0} == placed[-1]
        assert keep_off_claimed(self.ALL, tmp_path) == self.ALL == placed[-1]

    def test_it_stays_where_no_other_core_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_setaffinity", lambda _thread, _cores: None)
        with holder(tmp_path):
            assert keep_off_claimed(frozenset({2}), tmp_path) == {2}
