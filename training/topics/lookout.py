"""The look for new topics that `polydraft learn` takes between two updates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from router.proposal import ProposalFile
from training.online.load import Throttle
from training.topics.proposals import Scout, is_due


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
