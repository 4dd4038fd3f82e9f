import multiprocessing
import queue
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from decoding.request import SamplingParams
from serving.wire import Job, Leave, Load, Status, StepMessage
from serving.worker_loop import StepScheduler

STOP = (None, None, None, None)


class FakeEngine:
    """Runs every job for three turns."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        self.log: list[str] = []
        self.breaks = self.spoke = False
        self.chores, self.chore_done = 0, lambda _left: None

    @property
    def busy(self) -> bool:
        return bool(self.left)

    @property
    def has_chores(self) -> bool:
        return bool(self.chores)

    def admit(self, job: Job) -> None:
        self.left[job.request_id] = 3
        self.log.append(f"admit {job.request_id}")

    def cancel(self, request_id: str, is_answered: bool = False) -> bool:
        self.log.append(f"cancel {request_id} {is_answered}")
        return self.left.pop(request_id, None) is not None

    def advance(self) -> StepMessage | None:
        if self.breaks:
            self.breaks = False
            raise ZeroDivisionError
        if self.chores and not self.left:
            self.chores -= 1
            self.log.append("chore")
            self.chore_done(self.chores)
        for name in list(self.left):
            self.left[name] -= 1
            if not self.left[name]:
                del self.left[name]
                self.log.append(f"done {name}")
        message = StepMessage(Status(1, Load(len(self.left)), "off")) if self.left or self.spoke else None
        self.spoke = bool(self.left)
        return message

    def fail_all(self, what: str) -> StepMessage:
        failures = dict.fromkeys(self.left, what)
        self.left.clear()
        return StepMessage(Status(1, Load(), "off"), failures=failures)

    def close(self) -> None:
        self.log.append("close")


class Bench:
    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.jobs: queue.Queue[object] = queue.Queue()  # a timeout of 0 is no wait here either
        control, self.teller = multiprocessing.Pipe(duplex=False)
        self.control: Connection = control
        self.sent: list[StepMessage] = []
        self.scheduler = StepScheduler(self.engine, self.jobs, self.control, self.sent.append)

    def put(self, name: str) -> None:
        self.jobs.put((0, name, 0.0, Job(name, [1], "", SamplingParams())))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.control.close()
    made.teller.close()


class TestStepScheduler:
    def test_jobs_run_together_and_one_message_leaves_a_turn(self, bench: Bench) -> None:
        """Both are admitted before the first step."""
        bench.put("a")
        bench.put("b")
        bench.scheduler.draining = True
        bench.scheduler.run()
        assert bench.engine.log == ["admit a", "admit b", "done a", "done b", "close"]
        assert [message.status.load.running for message in bench.sent] == [2, 2, 0]

    def test_a_cancellation_that_overtakes_its_job_is_remembered(self, bench: Bench) -> None:
        """The two travel on different channels."""
        bench.teller.send(Leave("a", is_answered=False))
        bench.put("a")
        bench.put("b")
        bench.scheduler.draining = True
        bench.scheduler.run()
        assert "admit a" not in bench.engine.log
        assert "done b" in bench.engine.log

    def test_draining_finishes_what_runs(self, bench: Bench) -> None:
        """SIGTERM is no reason to drop an answer."""
        bench.put("a")
        bench.scheduler.draining = True
        bench.scheduler.run()
        assert bench.engine.log[-2:] == ["done a", "close"]

    def test_a_step_that_raises_fails_its_requests_only(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """The next request is served; the log has the traceback."""
        bench.put("a")
        bench.engine.breaks = True
        bench.scheduler.draining = True
        bench.scheduler.run()
        assert [list(message.failures) for message in bench.sent if message.failures] == [["a"]]
        assert "ZeroDivisionError" in caplog.text

    def test_chores_are_done_without_waiting_and_give_way_to_jobs(self, bench: Bench) -> None:
        """While there are some the queue is only glanced at; a job that comes goes first."""

        def done(left: int) -> None:
            if left == 3:
                bench.put("a")
            if left == 0:
                bench.jobs.put(STOP)

        bench.engine.chores, bench.engine.chore_done = 5, done
        began = time.monotonic()
        bench.scheduler.run()
        assert bench.engine.log == [*["chore"] * 2, "admit a", "done a", *["chore"] * 3, "close"]
        assert time.monotonic() - began < 0.5

    def test_draining_leaves_chores_undone(self, bench: Bench) -> None:
        """Nobody waits for them."""
        bench.engine.chores = 5
        bench.scheduler.draining = True
        bench.scheduler.run()
        assert bench.engine.log.count("chore") <= 1

    def test_the_stop_message_ends_it(self, bench: Bench) -> None:
        """Whatever closes the engine is called."""
        bench.jobs.put(STOP)
        bench.scheduler.run()
        assert bench.engine.log == ["close"]
