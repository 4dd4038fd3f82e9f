import asyncio
import multiprocessing
import subprocess
import sys
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from configs.errors import ServerError
from decoding.request import Origin, SamplingParams, SpeculationCounts
from serving.dispatch import Dispatcher
from serving.errors import DeadlineError, QueueFullError
from serving.wire import Job, Leave, Load, Output, Routing, Status, StepMessage


class Bench:
    """A dispatcher with both ends of its channels in hand."""

    def __init__(self, capacity: int = 2, deadline: float = 30, pid: int | None = None):
        self.jobs: list[Job] = []
        self.worker_end, control = multiprocessing.Pipe(duplex=False)
        self.control: Connection = control
        news, self.worker_news = multiprocessing.Pipe(duplex=False)
        self.news: Connection = news
        self.killed: list[int] = []
        self.dispatcher = Dispatcher(news, self.jobs.append, control, capacity, deadline, kill=self.killed.append)
        self.pid = pid or multiprocessing.current_process().pid or 0

    def say(self, *outputs: Output, **more: Any) -> None:
        """As if the worker had sent a message."""
        message = StepMessage(Status(self.pid, Load(), "off"), list(outputs), **more)
        self.worker_news.send_bytes(message.to_json())

    def told(self) -> list[Leave]:
        """What the worker has been told since the last call."""
        messages = []
        while self.worker_end.poll(0):
            messages.append(self.worker_end.recv())
        return messages


def job(name: str) -> Job:
    return Job(name, [1], "", SamplingParams())


def output(name: str, finish_reason: str | None = None) -> Output:
    return Output(name, [5], [Origin.PLAIN], finish_reason, SpeculationCounts(1))


def run(bench: Bench, test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        task = asyncio.create_task(bench.dispatcher.deliver_forever())
        await test()
        task.cancel()

    asyncio.run(main())
    for end in (bench.control, bench.worker_end, bench.news, bench.worker_news):
        end.close()


class TestDispatcher:
    def test_each_request_receives_its_own(self) -> None:
        """One message a step carries the tokens of all."""
        bench = Bench()

        async def test() -> None:
            a, b = bench.dispatcher.open(job("a")), bench.dispatcher.open(job("b"))
            bench.say(output("b"), output("a", "stop"), routings={"a": Routing(None, "none", None, "asked")})
            assert (await a.inbox.get()) == output("a", "stop")
            assert (await b.inbox.get()) == output("b")
            assert a.is_over
            assert a.routing is not None
            bench.dispatcher.close(a)
            bench.dispatcher.close(b)
            bench.dispatcher.close(b)

        run(bench, test)

    def test_only_what_still_runs_is_cancelled(self) -> None:
        """A finished request has nothing left to free."""
        bench = Bench()

        async def test() -> None:
            done, running = bench.dispatcher.open(job("done")), bench.dispatcher.open(job("running"))
            bench.say(output("done", "length"))
            await done.inbox.get()
            bench.told()
            bench.dispatcher.close(done)
            bench.dispatcher.close(running)
            assert bench.told() == [Leave("running", is_answered=False)]

        run(bench, test)

    def test_beyond_its_capacity_it_refuses(self) -> None:
        """And takes requests again when one has left."""
        bench = Bench(capacity=1)

        async def test() -> None:
            first = bench.dispatcher.open(job("a"))
            with pytest.raises(QueueFullError):
                bench.dispatcher.open(job("b"))
            bench.dispatcher.close(first)
            bench.dispatcher.close(bench.dispatcher.open(job("c")))

        run(bench, test)

    def test_the_deadline_frees_the_slot_and_tells_the_client(self) -> None:
        """Nobody waits for ever."""
        bench = Bench(deadline=0.02)

        async def test() -> None:
            ticket = bench.dispatcher.open(job("a"))
            assert isinstance(await asyncio.wait_for(ticket.inbox.get(), 5), DeadlineError)
            assert bench.told() == [Leave("a", is_answered=False)]

        run(bench, test)

    @pytest.mark.parametrize("leaves", [False, True])
    def test_a_worker_that_says_nothing_for_a_whole_deadline_is_ended(self, leaves: bool) -> None:
        """It hangs; but where nobody waits any more, it may have nothing to say."""
        bench = Bench(deadline=0.05)

        async def test() -> None:
            bench.say()
            while bench.dispatcher.status is None:
                await asyncio.sleep(0.001)
            ticket = bench.dispatcher.open(job("a"))
            if leaves:
                bench.dispatcher.close(ticket)
            assert not bench.killed
            await asyncio.sleep(0.1)
            assert bench.killed == ([] if leaves else [bench.pid])

        run(bench, test)

    def test_a_worker_that_is_only_slow_lives(self) -> None:
        """It has steps to tell of, though none for this request."""
        bench = Bench(deadline=0.05)

        async def test() -> None:
            bench.say()
            ticket = bench.dispatcher.open(job("a"))
            await asyncio.sleep(0.01)
            bench.say(output("b"))
            assert isinstance(await asyncio.wait_for(ticket.inbox.get(), 5), DeadlineError)
            await asyncio.sleep(0.02)
            assert not bench.killed

        run(bench, test)

    def test_a_failed_step_fails_its_requests(self) -> None:
        """With what the worker says."""
        bench = Bench()

        async def test() -> None:
            ticket = bench.dispatcher.open(job("a"))
            bench.say(failures={"a": "it broke"})
            error = await ticket.inbox.get()
            assert isinstance(error, ServerError)
            assert error.what == "it broke"
            bench.dispatcher.close(ticket)

        run(bench, test)

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems rely on the deadline")
    def test_the_death_of_the_worker_fails_everything_at_once(self) -> None:
        """Waiting for the deadline would be waiting for nothing."""
        with subprocess.Popen(["sleep", "60"]) as worker:
            bench = Bench(pid=worker.pid)

            async def test() -> None:
                ticket = bench.dispatcher.open(job("a"))
                bench.say(output("a"))
                await ticket.inbox.get()
                worker.kill()
                assert isinstance(await asyncio.wait_for(ticket.inbox.get(), 5), ServerError)
                bench.dispatcher.close(ticket)
                with pytest.raises(ServerError):
                    bench.dispatcher.open(job("b"))

            run(bench, test)
