"""The log takes traces without waiting and keeps whole ones, within its limits."""

import fcntl
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoding.trace_log import LogLimits, TraceLog
from decoding.trace_reader import Cursor, TraceReader
from decoding.trace_segment import list_segments
from tests.toy_traces import assert_same, make_trace

AT_ONCE = LogLimits(segment_seconds=0.0)  # a segment a trace
ROOT = Path(__file__).parents[2]


def numbers(reader: TraceReader) -> list[int]:
    """Of hand-made traces."""
    return [trace.token_ids[0] for trace in reader]


def wait_written(log: TraceLog, count: int) -> None:
    end = time.monotonic() + 10
    while log.state.written + log.state.dropped < count:
        assert time.monotonic() < end, log.state
        time.sleep(0.002)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class TestWriting:
    def test_closing_writes_what_there_is(self, tmp_path: Path) -> None:
        """One segment, in order, in a folder that only its owner reads."""
        folder = tmp_path / "new" / "traces"
        log = TraceLog(folder)
        traces = [make_trace(number) for number in range(30)]
        for trace in traces:
            log.append(trace)
        assert list_segments(folder) == []
        log.close()
        assert (log.state.written, log.state.dropped, log.state.error) == (30, 0, "")
        [(_, path)] = list_segments(folder)
        assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
        for found, trace in zip(TraceReader(folder), traces, strict=True):
            assert_same(found, trace)

    def test_a_log_without_traces_leaves_nothing(self, tmp_path: Path) -> None:
        """Not even a folder."""
        TraceLog(tmp_path / "traces").close()
        assert not (tmp_path / "traces").exists()

    def test_a_segment_is_closed_when_it_is_large_enough(self, tmp_path: Path) -> None:
        """By the bytes of its traces."""
        log = TraceLog(tmp_path, LogLimits(segment_bytes=4_000))
        for number in range(12):
            log.append(make_trace(number, tokens=50, top=10))  # about 2.9 kB each
        log.close()
        assert [len(list(TraceReader(tmp_path, cursor=Cursor(n)))) for n, _ in list_segments(tmp_path)] == [
            *range(12, 0, -2)
        ]

    def test_a_segment_is_closed_when_its_first_trace_is_old_enough(self, tmp_path: Path) -> None:
        """A follower need not wait for traffic."""
        log = TraceLog(tmp_path, LogLimits(segment_seconds=0.05))
        log.append(make_trace(1))
        wait_written(log, 1)
        assert numbers(TraceReader(tmp_path)) == [1]
        log.close()

    def test_a_full_queue_drops_and_counts_and_never_waits(self, tmp_path: Path) -> None:
        """The disk hangs: here, somebody holds the folder's lock."""
        folder = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        log = TraceLog(tmp_path, AT_ONCE, queue_length=3)
        began = time.monotonic()
        for number in range(50):
            log.append(make_trace(number))
        assert time.monotonic() - began < 2
        assert log.state.dropped >= 46
        fcntl.flock(folder, fcntl.LOCK_UN)
        os.close(folder)
        log.close()
        state = log.state
        assert state.written + state.dropped == 50
        assert len(numbers(TraceReader(tmp_path))) == state.written >= 3

    def test_a_lost_disk_is_said_once_and_serving_goes_on(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """When it is back, writing goes on, too."""
        caplog.set_level(logging.WARNING)
        place = tmp_path / "disk"
        place.write_text("not a folder")
        log = TraceLog(place, AT_ONCE)
        for number in range(3):
            log.append(make_trace(number))
            wait_written(log, number + 1)
        assert (log.state.written, log.state.dropped) == (0, 3)
        assert str(place) in log.state.error
        place.unlink()
        log.append(make_trace(9))
        wait_written(log, 4)
        log.close()
        assert (log.state.written, log.state.error) == (1, "")
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert "traces cannot be written and are dropped; serving goes on" in caplog.records[0].message

    def test_a_full_disk_leaves_no_half_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What could not be synced is removed."""

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        log = TraceLog(tmp_path, AT_ONCE)
        log.append(make_trace(1))
        log.close()
        assert (log.state.dropped, "No space left" in log.state.error) == (1, True)
        assert list(tmp_path.iterdir()) == []


class TestRetention:
    def test_the_oldest_segments_leave_when_there_are_too_many_bytes(self, tmp_path: Path) -> None:
        """The newest stay."""
        log = TraceLog(tmp_path, AT_ONCE)
        for number in range(3):
            log.append(make_trace(number))
            wait_written(log, number + 1)
        log.close()
        size = max(path.stat().st_size for _, path in list_segments(tmp_path))
        log = TraceLog(tmp_path, LogLimits(segment_seconds=0.0, max_bytes=3 * size + size // 2))
        log.append(make_trace(3))
        log.close()
        assert numbers(TraceReader(tmp_path)) == [1, 2, 3]

    def test_old_segments_leave(self, tmp_path: Path) -> None:
        """And with them what a killed writer left unfinished."""
        clock = Clock()
        leftover = tmp_path / ".unfinished-1-1"
        leftover.touch()
        os.utime(leftover, (clock.now, clock.now))
        log = TraceLog(tmp_path, LogLimits(segment_seconds=0.0, max_age_seconds=86_400), clock=clock)
        for number, step in enumerate((0, 80_000, 6_000, 500)):
            clock.now += step
            log.append(make_trace(number))
            wait_written(log, number + 1)
        log.close()
        assert numbers(TraceReader(tmp_path)) == [1, 2, 3]
        assert not leftover.exists()

    def test_numbers_ascend_even_if_the_clock_does_not(self, tmp_path: Path) -> None:
        """A follower misses nothing; neither with several writers."""
        clock = Clock()
        logs = [TraceLog(tmp_path, AT_ONCE, clock=clock) for _ in range(2)]
        reader, found = TraceReader(tmp_path), []
        for number in range(10):
            clock.now -= 10
            logs[number % 2].append(make_trace(number))
            wait_written(logs[number % 2], number // 2 + 1)
            found += numbers(reader)
        assert found == list(range(10))
        for log in logs:
            log.close()


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from decoding.trace_log import LogLimits, TraceLog
from decoding.trace_reader import TraceReader
from tests.toy_traces import assert_same, make_trace

folder, picked = Path(sys.argv[1]), random.Random(0)
for _ in range(12):
    child = os.fork()
    if not child:
        log = TraceLog(folder, LogLimits(segment_bytes=3000))
        for number in range(10**6):
            log.append(make_trace(number, tokens=50))
            time.sleep(0.0002)
    time.sleep(picked.uniform(0.03, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
reader, count = TraceReader(folder), 0
for trace in reader:
    assert_same(trace, make_trace(trace.token_ids[0], tokens=50))
    count += 1
assert not reader.damaged
print(count)
"""


def test_a_kill_at_any_moment_leaves_whole_segments_only(tmp_path: Path) -> None:
    """Twelve of them; every trace that is there is as it was."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
