"""What one request does in one step, and how long the parts of steps take."""

from dataclasses import dataclass

from decoding.proposal import EMPTY, Proposal
from decoding.request import Request
from decoding.span import Span


@dataclass(slots=True)
class StepTimes:
    """Seconds spent by part of the step, summed over ``num_steps``."""

    num_steps: int = 0
    draft: float = 0.0
    target: float = 0.0
    total: float = 0.0

    @property
    def other(self) -> float:
        return self.total - self.draft - self.target


@dataclass(slots=True)
class Turn:
    """What one request does in the current step: pending tokens, then its proposal."""

    request: Request
    slot: int
    pending: list[int]
    is_complete: bool  # nothing pending is left over, so the next token can be drawn
    is_prompt: bool  # what is pending belongs to the prompt
    proposal: Proposal = EMPTY
    drafter: str = ""  # who made the proposal

    def span(self) -> Span:
        rows = len(self.pending)
        if not self.proposal.token_ids:
            wanted = rows - 1 if self.is_complete else rows
            return Span(self.slot, self.pending, None, wanted, self.is_prompt)
        parents = [*range(-1, rows - 1), *(rows + parent for parent in self.proposal.parents)]
        return Span(self.slot, self.pending + self.proposal.token_ids, parents, logits_from=rows - 1)
