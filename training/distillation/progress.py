"""How far a job is: a bar on a terminal, a line every half minute elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from configs.console import hint
from training.distillation.trainer import History

_SECONDS = 30.0  # between lines where there is no terminal


class Bars:
    """Shows parts of a job by name; use it as a context manager."""

    def __init__(self) -> None:
        columns = [TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn()]
        extra = [TextColumn("{task.fields[note]}"), TimeRemainingColumn()]
        self._live = sys.stderr.isatty()
        self._progress = Progress(*columns, *extra, console=Console(stderr=True), disable=not self._live)
        self._tasks: dict[str, TaskID] = {}
        self._told = time.monotonic()

    def show(self, name: str, done: int, total: int, note: str = "") -> None:
        """Part ``name`` has done so much."""
        if self._live:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=total, note=note)
            self._progress.update(self._tasks[name], completed=done, total=total, note=note)
        elif time.monotonic() - self._told > _SECONDS or done == total:
            self._told = time.monotonic()
            hint(f"{name} {done}/{total}  {note}".rstrip())

    def steps(self, name: str, history: History, total: int) -> None:
        """A training has done a step."""
        note = f"loss {history.losses[-1]:.3f}"
        if history.validations:
            note = f"alpha {history.validations[-1][1].alpha_t0:.3f}  {note}"
        self.show(name, total if history.finished else history.step, total, note)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
