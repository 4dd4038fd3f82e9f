"""A core for the step loop alone, claimed among the servers of one user for as long as any process of one lives.

A step is a few milliseconds of computing. Whoever wakes on its core for a moment (the HTTP process after each step, the
router once a request) takes the core from it, and while the scheduler moves one of the two their caches grow cold.

The claim is an advisory lock (flock) on a file for each core. The kernel drops it when the last process that holds it
has ended, however it ended, so that no claim is ever stale. The files are in the user's cache folder beside the
kernels: it is written to anyway, stays the same where services are given a /tmp each, and no other user can hold or
replace the files. Servers of different users do not see each other's claims.
"""

import contextlib
import logging
import os
import platform
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import Any

from decoding.native.build import cache_folder

logger = logging.getLogger(__name__)

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # what torch takes its number of threads from


@dataclass(frozen=True, slots=True)
class OwnCore:
    """A core that was claimed, and the others that this server may use.

    Forked processes share the claim, and so does a spawned one that this is sent to.
    """

    core: int
    others: frozenset[int]
    lock: int  # a file descriptor; whoever has it open holds the claim

    def take(self) -> None:
        """The calling thread keeps to the core; the process's other threads keep off it.

        Threads that start later begin where the one that starts them is.
        """
        _place({self.core}, self.others)

    def leave(self) -> None:
        """All threads of this process, and whatever it starts from now on, keep off the core."""
        _place(self.others, self.others)

    def give_back(self) -> None:
        """Let all threads of this process go everywhere, and end its share of the claim."""
        everywhere = self.others | {self.core}
        _place(everywhere, everywhere)
        os.close(self.lock)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self.core, self.others, reduction.DupFd(self.lock))


def claim_core(folder: Path | None = None) -> OwnCore | None:
    """The highest-numbered core that no other server has claimed; the lowest is left for everything else.

    None where none is left, where only one is allowed, and where processes
    cannot be pinned or claims not be kept; the log says which.

    Args:
        folder: where claims are; by default ``polydraft/cores`` in the user's cache folder.
    """
    if sys.platform != "linux":
        return None
    folder = folder or cache_folder().parent / "cores"
    allowed = frozenset(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, allowed)  # changes nothing, and fails here where a sandbox forbids it
        for core in sorted(allowed)[:0:-1]:
            # A home folder may be shared by several machines.
            lock = _lock(folder / f"{platform.node()}-{core}")
            if lock is not None:
                logger.info("the step loop has core %d to itself", core)
                return OwnCore(core, allowed - {core}, lock)
    except OSError as error:
        logger.info("the step loop has no core to itself, it cannot be claimed: %s", error)
        return None
    logger.info("the step loop has no core to itself: none of %d is left", len(allowed))
    return None


def keep_off_claimed(allowed: frozenset[int], folder: Path | None = None) -> frozenset[int]:
    """All threads of this process leave the cores that step loops have claimed, unless there are no others.

    A learner has the lowest priority there is, so it gets a step loop's core whenever that waits for a moment, and
    leaves cold caches behind. Claims come and go: ask again now and then.

    Args:
        allowed: the cores that this process may use where nothing is claimed; one at least.

    Returns:
        The cores that it keeps to: ``allowed`` where nothing can be claimed or pinned.
    """
    if sys.platform != "linux":
        return allowed
    folder = folder or cache_folder().parent / "cores"
    cores = frozenset(core for core in allowed if not _is_claimed(folder / f"{platform.node()}-{core}")) or allowed
    try:
        _place(cores, cores)
    except OSError as error:
        logger.info("this process cannot keep off the cores of step loops: %s", error)
        return allowed
    return cores


def _is_claimed(file: Path) -> bool:
    """Whether a server holds the lock; it is held here for a moment where none does."""
    if not file.exists():
        return False
    try:
        lock = _lock(file)
    except OSError:
        return False
    if lock is not None:
        os.close(lock)
    return lock is None


def computes_alone(environment: Mapping[str, str]) -> bool:
    """Whether torch will compute with one thread in a process of this environment, as `serving.server` makes it."""
    return all(environment.get(name, "1") == "1" for name in _THREAD_VARIABLES)


def _place(own: set[int] | frozenset[int], others: frozenset[int]) -> None:
    if sys.platform == "linux":
        for thread in threading.enumerate():
            cores = own if thread is threading.current_thread() else others
            if thread.native_id is not None:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.sched_setaffinity(thread.native_id, cores)


def _lock(file: Path) -> int | None:
    """A descriptor that holds the lock on ``file``; None if somebody else does."""
    import fcntl  # not on every platform

    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _received(core: int, others: frozenset[int], lock: Any) -> OwnCore:
    return OwnCore(core, others, lock.detach())
