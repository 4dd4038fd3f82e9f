"""How the server's processes end: by signals, after failures, and with one another."""

import asyncio
import logging
import multiprocessing
import os
import signal

logger = logging.getLogger(__name__)

_PARENT_CHECK_SECONDS = 0.5


async def end_with(main: int) -> None:
    """A main process that was killed cannot tell: notice it and end gracefully."""
    while os.getppid() == main:
        await asyncio.sleep(_PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def end_after_failure(task: asyncio.Task[None]) -> None:
    """Without its deliveries the HTTP process is of no use: say why, and end gracefully."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the server cannot go on", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


def end_on_signals() -> None:
    """SIGTERM as Ctrl-C, and Ctrl-C even where a shell had it ignored: LitServe then finishes what runs.

    The HTTP process is forked and inherits the handler, and uvicorn raises the signal again in the end.
    """
    main = os.getpid()

    def interrupt(*_: object) -> None:
        if os.getpid() == main:
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)


class QuietMonitor(logging.Filter):
    """Keeps one thing out of the log: LitServe's monitor, surprised at an end by a manager that is gone already."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record stays; anything else that befalls the monitor does."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return not (
            record.getMessage() == "Monitoring worker crashed" and isinstance(error, (EOFError, ConnectionError))
        )


def end_children() -> None:
    """After a failed start or a dead worker LitServe leaves processes behind."""
    for child in multiprocessing.active_children():
        child.terminate()
    for child in multiprocessing.active_children():
        child.join(timeout=5)
        if child.is_alive():
            child.kill()
