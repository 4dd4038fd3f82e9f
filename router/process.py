"""The router beside the step loop: a ``TopicRouter`` in a child process, so that routing never delays a token.

``submit`` and ``poll`` never block. The child computes with one thread, answers in batches whatever is waiting, and
ends by itself when its parent is gone. If it fails, requests keep their general draft: ``error`` says why.
"""

import contextlib
import multiprocessing
import os
import queue
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RouterError
from router.decision import RoutingDecision

if TYPE_CHECKING:
    from router.encoder import Encoder
    from router.topic_router import TopicRouter

MAX_BATCH = 32
# Longer queries are cut before they are sent; the encoder reads less than this.
MAX_CHARACTERS = 16_384
_CLOSE_SECONDS = 0.5  # it has nothing to save
_PARENT_CHECK_SECONDS = 5.0
_FRESH_SECONDS = 0.01  # so old the process's state may be: it is asked for several times a step, and a look is a call

RequestId = int | str
MakeEncoder = Callable[[], "Encoder"]


@dataclass(frozen=True)
class _Load:
    folder: Path
    make_encoder: MakeEncoder
    min_confidence: float | None
    label: str


@dataclass(frozen=True)
class _Query:
    request_id: RequestId
    text: str


_Message = _Load | _Query


@dataclass(frozen=True)
class _Loaded:
    error: str
    label: str


@dataclass(frozen=True)
class _Decided:
    decisions: list[tuple[RequestId, RoutingDecision]]


class RouterProcess:
    """A router in a child process, for one caller thread.

    Args:
        folder: a router folder.
        make_encoder: makes the encoder, in the child; picklable, such as ``functools.partial(load_encoder, name)``.
        min_confidence: overrides the router's own threshold.
        label: what the router is called, such as ``router@v3``.
        cores: that the child may use; by default those of the calling thread.
    """

    _process: SpawnProcess
    _replies: "Connection[Any, Any]"
    _watched: selectors.BaseSelector
    _outbox: "queue.SimpleQueue[_Message | None]"
    _sender: threading.Thread
    _decided: list[tuple[RequestId, RoutingDecision]]
    _ready: bool
    _error: str
    _label: str
    _num_asked: int  # without an answer yet
    _fresh_until: float

    def __init__(
        self,
        folder: Path,
        make_encoder: MakeEncoder,
        min_confidence: float | None = None,
        label: str = "router",
        cores: frozenset[int] | None = None,
    ):
        self._make_encoder, self._min_confidence, self._cores = make_encoder, min_confidence, cores
        self._start(folder, label)

    @property
    def ready(self) -> bool:
        """A router is loaded and its process is alive."""
        self._look()
        return self._ready

    @property
    def error(self) -> str:
        """Why the last load failed or the process ended; empty when all is well."""
        self._look()
        return self._error

    @property
    def label(self) -> str:
        """What the router that answers is called; empty before there is one."""
        self._look()
        return self._label

    @property
    def pid(self) -> int | None:
        """Process id of the child."""
        return self._process.pid

    def submit(self, request_id: RequestId, text: str) -> None:
        """Ask for a decision; returns at once, and what is asked before the router is ready is answered after."""
        self._num_asked += 1
        self._outbox.put(_Query(request_id, text[:MAX_CHARACTERS]))

    def poll(self) -> list[tuple[RequestId, RoutingDecision]]:
        """Decisions that arrived since the last call, without waiting for more."""
        if self._num_asked:
            self._receive()
        else:
            self._look()
        decided, self._decided = self._decided, []
        return decided

    def reload(self, folder: Path, label: str = "router") -> None:
        """Serve another router folder from the next batch on; returns at once.

        If the folder cannot be used, ``error`` says why and the router that was loaded before goes on. A process that
        has ended is started again.
        """
        if self._process.is_alive():
            self._error = ""
            self._outbox.put(_Load(folder, self._make_encoder, self._min_confidence, label))
        else:
            self.close()
            self._start(folder, label)

    def close(self) -> None:
        """End the child; decisions not polled yet are lost. A second call does nothing."""
        self._ready = False
        self._outbox.put(None)
        self._process.join(_CLOSE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._sender.join()
        self._watched.close()
        self._replies.close()

    def _start(self, folder: Path, label: str) -> None:
        self._ready, self._error, self._label = False, "", ""
        self._decided, self._num_asked, self._fresh_until = [], 0, 0.0
        context = multiprocessing.get_context("spawn")
        queries, requests = context.Pipe(duplex=False)
        self._replies, answers = context.Pipe(duplex=False)
        # Asked several times a step; `Connection.poll` makes a selector each time.
        self._watched = selectors.DefaultSelector()
        self._watched.register(self._replies, selectors.EVENT_READ)
        self._process = context.Process(target=_serve, args=(queries, answers), name="router", daemon=True)
        self._process.start()
        if self._cores is not None and sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):  # it has ended, which shows by itself
                os.sched_setaffinity(self._process.pid or 0, self._cores)
        queries.close()
        answers.close()
        self._outbox = queue.SimpleQueue()
        # A pipe that is full blocks its writer; only this thread may wait for the child.
        self._sender = threading.Thread(target=_send, args=(self._outbox, requests), name="router-sender", daemon=True)
        self._sender.start()
        self._outbox.put(_Load(folder, self._make_encoder, self._min_confidence, label))

    def _look(self) -> None:
        if time.monotonic() >= self._fresh_until:
            self._receive()

    def _receive(self) -> None:
        self._fresh_until = time.monotonic() + _FRESH_SECONDS
        if self._replies.closed:
            return
        try:
            while self._watched.select(0):
                self._take(self._replies.recv())
        except (EOFError, OSError):
            self._ready = False
            self._error = self._error or "the router process has ended; queries get the general draft"

    def _take(self, reply: _Loaded | _Decided) -> None:
        if isinstance(reply, _Decided):
            self._decided += reply.decisions
            self._num_asked -= len(reply.decisions)
        elif reply.error:
            self._error = reply.error
        else:
            self._ready, self._error, self._label = True, "", reply.label


def _send(outbox: "queue.SimpleQueue[_Message | None]", requests: "Connection[Any, Any]") -> None:
    with requests:
        while (message := outbox.get()) is not None:
            # With the child gone, what is still asked is dropped: poll() has found out by itself.
            with contextlib.suppress(BrokenPipeError):
                requests.send(message)


def _serve(queries: "Connection[Any, Any]", answers: "Connection[Any, Any]") -> None:
    """Body of the child: load, then answer until the parent closes its end or is gone."""
    # Set before numpy or torch are imported, which unpickling the first message does.
    os.environ.update(
        OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"
    )
    # Ctrl-C reaches the whole process group; ending the child is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent, router = os.getppid(), None
    try:
        while os.getppid() == parent:
            if wait([queries], timeout=_PARENT_CHECK_SECONDS):
                router = _answer(_waiting(queries), answers, router)
    except (EOFError, BrokenPipeError):
        return


def _waiting(queries: "Connection[Any, Any]") -> list[_Message]:
    messages = [queries.recv()]
    while len(messages) < MAX_BATCH and queries.poll(0):
        messages.append(queries.recv())
    return messages


def _answer(
    messages: list[_Message], answers: "Connection[Any, Any]", router: "TopicRouter | None"
) -> "TopicRouter | None":
    for message in messages:
        if isinstance(message, _Load):
            router, error = _load(message, router)
            answers.send(_Loaded(error, message.label))
    asked = [message for message in messages if isinstance(message, _Query)]
    if router is not None and asked:
        decisions = router.decide_many([query.text for query in asked])
        answers.send(_Decided([(query.request_id, made) for query, made in zip(asked, decisions, strict=True)]))
    return router


def _load(message: _Load, current: "TopicRouter | None") -> "tuple[TopicRouter | None, str]":
    from router.topic_router import TopicRouter

    try:
        encoder = current.encoder if current is not None else message.make_encoder()
        router = TopicRouter.load(message.folder, encoder)
    except (RouterError, OSError) as error:
        return current, str(error)
    if message.min_confidence is not None:
        router = router.with_min_confidence(message.min_confidence)
    return router, ""
