"""What LitServe runs in the worker process: it loads the model there and hands over to the step loop."""

import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import litserve as ls

from configs.errors import PolydraftError
from serving.endpoints import OpenAISpec
from serving.engine import Engine
from serving.own_core import OwnCore
from serving.plan import Plan
from serving.worker_loop import WorkerLoop

# How long a thread that loads a draft may keep the step loop from Python; the usual 5 ms are several steps.
_SWITCH_SECONDS = 0.0005


class WorkerAPI(ls.LitAPI):
    """What LitServe sends to the worker process: the plan, and the near ends of its pipes."""

    def __init__(
        self,
        spec: OpenAISpec,
        plan: Plan,
        cancellations: Connection,
        news: Connection,
        problems: Connection,
        versions: Connection,
        ways_back: Connection,
        build: Callable[[Plan], Engine],
        core: OwnCore | None,
    ):
        super().__init__(spec=spec, loop=WorkerLoop())
        self.plan, self.cancellations, self.news = plan, cancellations, news
        self.problems, self._versions, self._ways_back = problems, versions, ways_back
        self._build, self._core = build, core

    def setup(self, device: str) -> None:  # noqa: ARG002 (LitServe's signature)
        """Load the model, in the worker."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the main process decides
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            self._start_engine()
        except PolydraftError as error:
            self.problems.send(error)
            logging.getLogger("litserve").setLevel(logging.CRITICAL)  # the main process says it in one line
            raise

    def _start_engine(self) -> None:
        plan = self.plan
        if self._core is not None:
            self._core.take()  # before costs are measured
            plan = replace(plan, router_cores=self._core.others)
        self.engine = self._build(plan)
        self.engine.follow(self._versions, self._ways_back)

    def keep_core(self) -> None:
        """Take the core from the threads that have begun since."""
        if self._core is not None:
            self._core.take()

    def predict(self, x: Any) -> Any:
        """Never called: the loop is our own."""
        raise NotImplementedError
