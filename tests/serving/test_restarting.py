import logging
import multiprocessing
import queue

from configs.errors import CheckpointError
from serving.restarting import Restarts, forget_jobs, tell_problems


def test_a_worker_is_started_again_so_often_within_a_window():
    """Deaths that are far apart are never too many."""
    now = 0.0
    restarts = Restarts(most=2, seconds=10, clock=lambda: now)
    assert restarts.begin()
    now = 1.0
    assert restarts.begin()
    assert not restarts.begin()
    now = 10.5  # the first is forgotten
    assert restarts.begin()
    assert not restarts.begin()


def test_nothing_starts_once_the_server_ends():
    restarts = Restarts()
    restarts.end()
    assert not restarts.begin()


def test_what_the_dead_worker_was_told_is_gone():
    """Jobs and goodbyes; the next messages are whole."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    jobs: queue.Queue[str] = queue.Queue()
    for number in range(3):
        writer.send(number)
        jobs.put(str(number))
    forget_jobs(reader, jobs)
    assert jobs.empty()
    assert not reader.poll(0)
    writer.send("next")
    assert reader.recv() == "next"


def test_why_it_could_not_load_is_logged(caplog):
    reader, writer = multiprocessing.Pipe(duplex=False)
    writer.send(CheckpointError("the file is gone", do="bring it back"))
    with caplog.at_level(logging.ERROR):
        tell_problems(reader)
    assert "the file is gone" in caplog.text
