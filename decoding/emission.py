"""Where the tokens of one target run were drawn: what log-probabilities and traces are read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from decoding.laws import Law
from decoding.logprobs import read_logprobs
from decoding.proposal import Proposal
from decoding.request import FinishReason, Request, StepOutput


@dataclass(frozen=True, slots=True)
class Emission:
    """What one target run gave to one request.

    Attributes:
        start: the first of the request's rows in the logits of the step.
        places: of those rows, the one that each emitted token was drawn at.
        law: what the rule worked with at the request's rows; distributions [rows, vocab_size] where it samples.
        drafter: who proposed; empty where nobody did.
    """

    output: StepOutput
    start: int
    places: list[int]
    law: Law
    drafter: str

    @property
    def rows(self) -> list[int]:
        return [self.start + place for place in self.places]


class Recorder(Protocol):
    """Is shown the runs of all requests that are to be traced."""

    def record(self, logits: Tensor, emissions: Sequence[Emission]) -> None:
        """One step's; an answer ends with the emission whose output has a finish reason.

        Args:
            logits: [rows of the step, vocab_size], the target's, unprocessed; they may change afterwards.
        """
        ...

    def end(self, request: Request, reason: FinishReason | None) -> None:
        """The request ends outside of a run: answered, for a reason that the loop does not know, or given up (None)."""
        ...


def refused_token(proposal: Proposal, path: Sequence[int]) -> int | None:
    """The first token proposed behind an accepted path; None if nothing was."""
    end = path[-1] if path else -1
    return proposal.token_ids[proposal.parents.index(end)] if end in proposal.parents else None


def add_logprobs(logits: Tensor, emissions: Sequence[Emission]) -> None:
    """Give the outputs that ask for log-probabilities theirs.

    Args:
        logits: [rows of the step, vocab_size], the target's, unprocessed.
    """
    wanted = [each for each in emissions if each.output.request.sampling.num_logprobs is not None]
    if not wanted:
        return
    rows = [row for each in wanted for row in each.rows]
    owners = [each.output for each in wanted for _ in each.places]
    token_ids = [token_id for each in wanted for token_id in each.output.token_ids]
    num_top = [owner.request.sampling.num_logprobs or 0 for owner in owners]
    for owner, logprob in zip(owners, read_logprobs(logits, rows, token_ids, num_top), strict=True):
        owner.logprobs.append(logprob)
