"""Work that takes of the processor only what nobody else wants."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

_NICEST = 19
_AUTOGROUP = Path("/proc/self/autogroup")
_PR_SET_PDEATHSIG = 1


def stand_back() -> None:
    """Go on with the lowest priority there is; call it before there are threads.

    Linux shares the processor out among sessions before it looks at niceness (autogroup, `sched(7)`), so a nice process
    yields to its own terminal and to nothing else. Where it does so, the work goes on in a child with a session of its
    own, which is then made nice as a whole; the process that was called passes signals on and ends as the child ends.
    """
    if _AUTOGROUP.exists() and os.getsid(0) != os.getpid():
        child = os.fork()
        if child:
            sys.exit(_exit_code(child))
        _follow_parent()
        os.setsid()
    os.nice(_NICEST)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):  # no such file, or the system has other ideas of who may write it
        _AUTOGROUP.write_text(str(_NICEST), encoding="ascii")


def _exit_code(child: int) -> int:
    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _follow_parent() -> None:
    """Die with the parent, even if it is killed."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was faster
        os._exit(1)
