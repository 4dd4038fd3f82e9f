"""The looks for new topics and for drift that `polydraft learn` takes between two updates."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from decoding.trace_reader import Cursor, TraceReader
from router.proposal import ProposalFile
from training.online.load import Throttle
from training.topics.drift import Drift, Row, drifted, verdicts
from training.topics.proposals import Scout, is_due

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lookout:
    """Looks whenever enough further requests were rejected.

    Attributes:
        make: loads router and embedding model, and only then: whoever rejects nothing needs neither.
        between: may pause, may raise `training.online.load.Stopped`.
    """

    folder: Path
    target: str
    file: ProposalFile
    make: Callable[[], Scout]
    between: Throttle

    def __call__(self) -> None:
        if self.folder.is_dir() and is_due(self.folder, self.target, self.file):
            self.between()
            self.make().look()


@dataclass(frozen=True)
class DriftWatch:
    """Looks for drift whenever enough further requests were recorded, whoever took the last look.

    Attributes:
        every: requests between two looks; 0 is never.
        make: loads the embedding model, and only then.
        between: may pause, may raise `training.online.load.Stopped`.
    """

    folder: Path
    target: str
    every: int
    file: ProposalFile
    make: Callable[[], Drift]
    between: Throttle

    def __call__(self) -> None:
        if self.every and self.folder.is_dir() and self._num_new() >= self.every:
            self.between()
            end = TraceReader(self.folder).end()
            note(self.file, self.make().rows(), end)

    def _num_new(self) -> int:
        return sum(1 for _ in TraceReader(self.folder, target=self.target, cursor=_cursor(self.file)).entries())


def note(file: ProposalFile, rows: Sequence[Row], end: Cursor | None = None) -> list[str]:
    """Write down what drifted for the server to show, and log it; the same for people.

    Args:
        end: of the deployment's log when it was read; None if another one was.
    """
    found = drifted(rows)
    file.note_drift(found, verdicts(rows), file.drift_seen() if end is None else str(end))
    for each in found:
        logger.warning("drift: %s", each)
    return found


def _cursor(file: ProposalFile) -> Cursor:
    try:
        return Cursor.parse(file.drift_seen())
    except ValueError:
        return Cursor()
