"""Jobs that a thread fetches."""

import queue
import time

import pytest

from serving import arrivals
from serving.arrivals import Arrivals


class BrokenQueue:
    """Gives one job, has none for a while, and is gone."""

    def __init__(self) -> None:
        self.answers = ["job", queue.Empty(), queue.Empty(), EOFError("gone")]

    def get(self, timeout: float) -> str:
        assert timeout <= 0.2, "a fetch of a worker that died must have ended before the next one serves"
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_jobs_arrive_in_order_and_nothing_is_waited_for() -> None:
    """Asked without a timeout it answers at once."""
    jobs: queue.Queue[int] = queue.Queue()
    arrived = Arrivals(jobs)
    with pytest.raises(queue.Empty):
        arrived.get()
    for number in range(5):
        jobs.put(number)
    assert [arrived.get(timeout=5) for _ in range(5)] == list(range(5))
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        arrived.get(timeout=0.05)
    assert time.monotonic() - began >= 0.05


def test_a_wait_outlasts_fetches_that_bring_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them ends soon; the thread goes on."""
    monkeypatch.setattr(arrivals, "_FETCH_SECONDS", 0.01)
    jobs: queue.Queue[int] = queue.Queue()
    arrived = Arrivals(jobs)
    time.sleep(0.05)
    jobs.put(7)
    assert arrived.get(timeout=5) == 7


def test_the_end_of_the_queue_reaches_who_asks() -> None:
    """After what came before it."""
    arrived = Arrivals(BrokenQueue())
    assert arrived.get(timeout=5) == "job"
    with pytest.raises(EOFError, match="gone"):
        arrived.get(timeout=5)
