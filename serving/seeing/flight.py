"""What is known of one answer while it grows."""

from dataclasses import dataclass

from decoding.request import SpeculationCounts
from serving.seeing.labels import Labels
from serving.wire import Routing

PROVISIONAL = ("undecided", "router starting")  # reasons that a decision will replace


@dataclass(frozen=True, slots=True)
class Run:
    """What one target run did for one answer."""

    drafted: int
    accepted: int
    is_copied: bool  # prompt lookup proposed, whoever the answer's draft is

    @property
    def is_speculative(self) -> bool:
        return self.drafted > 0


@dataclass(slots=True)
class Flight:
    """One answer."""

    arrived: float  # monotonic seconds
    labels: Labels
    routing: Routing | None = None
    last: float | None = None  # when its last tokens came
    is_over: bool = False
    failure: str = ""
    _drafted: int = 0
    _copied: int = 0
    _accepted: int = 0

    def run(self, counts: SpeculationCounts) -> Run:
        """The newest target run, by the counts after it."""
        drafted, copied = counts.num_draft_tokens - self._drafted, counts.num_copied_tokens - self._copied
        accepted = counts.num_accepted_tokens - self._accepted
        self._drafted, self._copied = counts.num_draft_tokens, counts.num_copied_tokens
        self._accepted = counts.num_accepted_tokens
        return Run(drafted, accepted, is_copied=copied > 0)
