"""When the learner looks for drift, and what it leaves behind."""

import logging
from pathlib import Path

import pytest

from decoding.trace_log import LogLimits, TraceLog
from decoding.trace_reader import Cursor
from router.proposal import ProposalFile, proposal_file
from tests.toy_traces import make_trace
from training.online.load import Stopped, Throttle
from training.topics.lookout import DriftWatch, note

DRIFTED = {"topic": "sql", "queries_drift": True, "acceptance_drift": None}
STEADY = {"topic": "all", "queries_drift": False, "acceptance_drift": None}


class Look:
    """Stands in for the tests themselves."""

    def __init__(self) -> None:
        self.count = 0

    def rows(self) -> list[dict[str, object]]:
        self.count += 1
        return [DRIFTED, STEADY]


@pytest.fixture
def file(tmp_path: Path) -> ProposalFile:
    return proposal_file(tmp_path, "toy")


def record(folder: Path, count: int, target: str = "t") -> None:
    """A further file of traces."""
    log = TraceLog(folder, LogLimits(1 << 24, 1e6, 1 << 20, 1e6))
    for number in range(count):
        log.append(make_trace(number, target=target))
    log.close()


def watch(folder: Path, file: ProposalFile, look: Look, every: int = 10, between: Throttle | None = None) -> DriftWatch:
    return DriftWatch(folder, "t", every, file, lambda: look, between or Throttle())  # type: ignore[arg-type,return-value]


def test_it_looks_after_so_many_further_requests(
    tmp_path: Path, file: ProposalFile, caplog: pytest.LogCaptureFixture
) -> None:
    """Of its own target; a look is noted and logged, and the next one waits for new traffic."""
    folder, look = tmp_path / "log", Look()
    watch(folder, file, look)()
    record(folder, 9)
    record(folder, 20, target="another")
    watch(folder, file, look)()
    assert (look.count, file.drift()) == (0, [])
    record(folder, 1)
    with caplog.at_level(logging.WARNING):
        watch(folder, file, look)()
    assert (look.count, file.drift()) == (1, ["sql: queries"])
    assert caplog.messages == ["drift: sql: queries"]
    assert file.drift_verdicts()[0] == {("sql", "queries"): True, ("all", "queries"): False}
    watch(folder, file, look)()
    record(folder, 9)
    watch(folder, file, look)()
    assert look.count == 1
    record(folder, 1)
    watch(folder, file, look)()
    assert look.count == 2


def test_old_traces_that_left_hide_no_new_ones(tmp_path: Path, file: ProposalFile) -> None:
    """A full log stays as large as it is; what counts is what came behind the last look."""
    folder, look = tmp_path / "log", Look()
    record(folder, 12)
    watch(folder, file, look)()
    (first,) = folder.glob("*")
    record(folder, 6)
    record(folder, 6)
    first.unlink()
    watch(folder, file, look)()
    assert look.count == 2


def test_never_is_never(tmp_path: Path, file: ProposalFile) -> None:
    record(tmp_path / "log", 12)
    look = Look()
    watch(tmp_path / "log", file, look, every=0)()
    assert look.count == 0


def test_a_learner_that_is_stopped_looks_at_nothing(tmp_path: Path, file: ProposalFile) -> None:
    """And notes nothing, so that the next one will."""

    class Ended(Throttle):
        def __call__(self) -> None:
            raise Stopped

    record(tmp_path / "log", 12)
    look = Look()
    with pytest.raises(Stopped):
        watch(tmp_path / "log", file, look, between=Ended())()
    assert (look.count, file.drift_seen()) == (0, "")


def test_a_look_at_another_log_does_not_count(file: ProposalFile) -> None:
    """What it found is shown; how far the deployment's own was looked at stays."""
    note(file, [STEADY], Cursor(3, 4))
    assert note(file, [DRIFTED, STEADY]) == ["sql: queries"]
    assert file.drift_seen() == "3:4"
