"""The LitServe server: checks first, then one worker with the model and one HTTP process, and a clean end."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from threading import Lock
from typing import Any

import litserve as ls
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from configs.errors import PolydraftError, ServerError
from registry.location import locate
from router.proposal import proposal_file
from serving.admission import Admission, Limits
from serving.building import build_engine
from serving.complaints import VERDICTS, Complaints, Notices, Sender
from serving.config import Deployment
from serving.dispatch import Dispatcher
from serving.ending import QuietMonitor, end_after_failure, end_children, end_on_signals, end_with
from serving.endpoints import Desk, OpenAISpec
from serving.engine import Engine
from serving.errors import to_http
from serving.followed import with_followed
from serving.following import DraftFollower
from serving.following_router import RouterFollower
from serving.following_verdicts import VerdictFollower
from serving.frames import discard
from serving.health import Board
from serving.keys import read_keys
from serving.own_core import OwnCore, claim_core, computes_alone
from serving.plan import Plan, make_plan
from serving.ports import check_port
from serving.restarting import Restarts, forget_jobs, tell_problems
from serving.seeing.routes import Seeing
from serving.text import TextCodec
from serving.wire import Job
from serving.worker_api import WorkerAPI

logger = logging.getLogger(__name__)

_SETUP_CHECK_SECONDS = 0.05
_WORKER_CHECK_SECONDS = 0.2
_LITSERVES = ("/", "/litserve/health", "/litserve/info")  # routes of its own, which would be open to everybody


def serve(
    deployment: Deployment,
    host: str | None = None,
    port: int | None = None,
    announce: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests are finished first.

    Args:
        announce: called in the HTTP process when it begins to listen.

    Raises:
        PolydraftError: the deployment cannot be served; nothing is left running.
    """
    host, port = host or deployment.serving.host, port or deployment.serving.port
    check_port(host, port)
    # Read by torch when the worker imports it: two threads on a busy machine are slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    keys = read_keys(deployment.serving, host)
    plan = with_followed(make_plan(deployment), deployment)
    pinned = deployment.serving.own_core and plan.placement.is_cpu and computes_alone(os.environ)
    core = claim_core() if pinned else None
    if core is not None:
        core.leave()  # before there are processes, which inherit it
    server = PolydraftServer(deployment, plan, keys, announce, core=core)
    end_on_signals()
    logging.getLogger("litserve.server").addFilter(QuietMonitor())
    try:
        server.run(host=host, port=port, num_api_servers=1, generate_client_file=False, log_level="warning")
    except (EOFError, ConnectionError) as error:
        raise ServerError("the model process died; the server has stopped", do="see the log above") from error
    finally:
        end_children()
        if core is not None:
            core.give_back()


class PolydraftServer(ls.LitServer):
    """LitServe with one worker, one HTTP process, and OpenAI's errors everywhere."""

    def __init__(
        self,
        deployment: Deployment,
        plan: Plan,
        api_keys: tuple[bytes, ...] = (),
        announce: Callable[[], None] = lambda: None,
        build: Callable[[Plan], Engine] = build_engine,
        core: OwnCore | None = None,
    ):
        self._plan, self._api_keys = plan, api_keys
        self._model_name, self._announce = deployment.model_name, announce
        self._serving = deployment.serving
        context = multiprocessing.get_context("spawn")
        notices, complaints = context.Pipe(duplex=False)
        self._notices, complain = Notices(notices), Sender(complaints).send
        proposals = proposal_file(locate(deployment.registry).state, deployment.name)
        self._board = Board(proposals, self._notices, core.core if core else None)
        cancellations, self._control = context.Pipe(duplex=False)
        self._news, news = context.Pipe(duplex=False)
        self._problems, problems = context.Pipe(duplex=False)
        versions, new_version = context.Pipe(duplex=False)
        given_up, ways_back = context.Pipe(duplex=False)
        hand_on = _one_at_a_time(new_version.send)
        self._worker_ends = (versions, cancellations)
        self._restarts = Restarts()
        drafts, router = (
            Complaints("draft", partial(complain, "draft")),
            Complaints("", partial(complain, "the router")),
        )
        self._follower = DraftFollower(deployment, plan.drafts, hand_on, given_up, drafts)
        self._router_follower = RouterFollower(deployment, plan.router_label, hand_on, router)
        self._verdicts = VerdictFollower(deployment, partial(complain, VERDICTS))
        self._spec = OpenAISpec()
        self._seeing = Seeing(deployment, plan.slots, self._spec)
        super().__init__(
            WorkerAPI(self._spec, plan, cancellations, news, problems, versions, ways_back, build, core),
            accelerator="cpu",
            timeout=False,
            healthcheck_path="/litserve/health",
            info_path="/litserve/info",
            disable_openapi_url=True,
            restart_workers=True,
        )
        self.monitor_internal = _WORKER_CHECK_SECONDS
        self.app.add_exception_handler(Exception, _on_error)
        for kind in (PolydraftError, 404, 405):
            self.app.add_exception_handler(kind, _on_error)
        self.app.router.routes[:] = [route for route in self.app.router.routes if route.path not in _LITSERVES]
        self._seeing.mount(self.app)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """In the HTTP process: deliver the worker's messages for as long as requests are served."""
        capacity = self._plan.slots + self._serving.max_queue
        deadline, observer = self._serving.deadline_seconds, self._seeing.observer
        dispatcher = Dispatcher(self._news, self._submit, self._control, capacity, deadline, observer)
        self._spec.desk.dispatcher = dispatcher
        main = os.getppid()
        # Ctrl-C reaches the whole group: the main process answers it, by ending this one gracefully.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        asyncio.get_running_loop().add_reader(self._notices.fileno(), self._take_notices)
        async with super().lifespan(app):
            tasks = [asyncio.create_task(dispatcher.deliver_forever()), asyncio.create_task(end_with(main))]
            for task in tasks:
                task.add_done_callback(end_after_failure)
            self._announce()
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                self._seeing.flush()
                if os.getppid() != main:
                    self._end_manager()

    def verify_worker_status(self) -> None:
        """Load the tokenizer while the worker loads the model, then wait for it.

        Raises:
            PolydraftError: what the worker reports, or that it died without a word.
        """
        self._spec.open(self._desk())
        process = self.inference_workers[0]
        self._managers = [child.pid for child in multiprocessing.active_children() if child.pid != process.pid]
        while "ready" not in self.workers_setup_status.values():
            is_alive = process.is_alive()  # asked first: the last words of a dying worker are in the pipe by then
            if self._problems.poll(_SETUP_CHECK_SECONDS):
                raise self._problems.recv()
            if not is_alive:
                raise ServerError(f"the model process ended while loading (exit code {process.exitcode})")

    def launch_single_inference_worker(self, lit_api: ls.LitAPI, worker_id: int) -> Any:
        """Start a worker in place of one that died. It begins with the versions of the server's start.

        LitServe's monitor calls this, and ends the server where a dead worker is not to be started again.
        """
        dead = self.inference_workers[worker_id]
        tell_problems(self._problems)
        with self._restarts.lock:
            if not self._restarts.begin():
                self.restart_workers = self._restarts.is_ending  # at an end LitServe ends the rest by itself
                return dead
            versions, control = self._worker_ends
            discard(versions)
            forget_jobs(control, self._get_request_queue(lit_api.api_path))
            self._follower.start_over()
            self._router_follower.start_over()
            logger.warning("the model process died (exit code %s) and is started again", dead.exitcode)
            return super().launch_single_inference_worker(lit_api, worker_id)

    def _perform_graceful_shutdown(self, *args: Any, **options: Any) -> None:
        self._restarts.end()
        super()._perform_graceful_shutdown(*args, **options)
        self._seeing.end()

    def _start_server(self, *args: Any, **options: Any) -> Any:
        """Fork the HTTP process, then follow the registry: a thread that holds a lock must not be forked."""
        processes = super()._start_server(*args, **options)
        self._follower.start()
        self._router_follower.start()
        self._verdicts.start()
        self._seeing.start()
        return processes

    def _desk(self) -> Desk:
        plan, codec = self._plan, TextCodec(self._plan.target)
        limits = Limits(
            self._model_name,
            plan.max_length,
            self._serving.max_tokens,
            plan.vocab_size,
            plan.draft_names,
            plan.end_token_ids | codec.end_token_ids,
        )
        admission = Admission(codec, limits, self._added)
        return Desk(self._model_name, codec, admission, plan.slots, self._api_keys, self._board)

    def _take_notices(self) -> None:
        self._notices.take()
        self._seeing.watch.complained(self._notices.of("draft").values())

    def _added(self) -> tuple[str, ...]:
        """Drafts that have come since the start; asked in the HTTP process."""
        status = self._spec.dispatcher.status
        return status.added if status is not None else ()

    def _end_manager(self) -> None:
        """The process of LitServe's queues outlives a main process that was killed, unless somebody ends it."""
        for pid in self._managers:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _submit(self, job: Job) -> None:
        self._spec.request_queue.put((0, job.request_id, time.monotonic(), job))


def _one_at_a_time(send: Callable[[Any], None]) -> Callable[[Any], None]:
    """For two threads on one pipe."""
    lock = Lock()

    def locked(message: Any) -> None:
        with lock:
            send(message)

    return locked


async def _on_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 (Starlette's signature)
    answer = to_http(error)
    return JSONResponse(answer.body, status_code=answer.status, headers=answer.headers)
