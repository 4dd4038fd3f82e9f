"""Makes a trace of each request that is to be traced, while it is decoded.

Raw probabilities are the softmax of a row's raw logits, and a row's logits do not depend on the rows beside it: so
what a trace says of a token is the same with every draft, length and company, bit for bit.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from decoding.emission import Emission
from decoding.request import FinishReason, Origin, Request
from decoding.trace import SpeculationTrace

MOST_TOP = 256  # most probable tokens kept a position


class _Run(NamedTuple):
    """What one target run emitted, a row a token."""

    probs: Tensor
    drawn_probs: Tensor
    top_ids: Tensor
    top_probs: Tensor


@dataclass(slots=True)
class _Unfinished:
    origins: list[Origin] = field(default_factory=list)
    runs: list[_Run] = field(default_factory=list)
    draft: str | None = None
    has_copied_only: bool = True

    def propose(self, label: str, copies: bool) -> None:
        """Remember the last draft model; a copier only as long as there was none."""
        if self.has_copied_only or not copies:
            self.draft, self.has_copied_only = label, copies


class TraceRecorder:
    """The step loop's recorder.

    Args:
        target: fingerprint of the target.
        hand_over: is given each finished trace; called in the step loop's thread, so it must not wait.
        top: most probable tokens kept a position, at most MOST_TOP.
        label: name and version of a drafter of the loop.
        copiers: drafters of the loop that copy text; they are not named where a draft model proposed, too.
    """

    def __init__(
        self,
        target: str,
        hand_over: Callable[[SpeculationTrace], object],
        top: int = 32,
        label: Callable[[str], str] = str,
        copiers: Collection[str] = (),
    ):
        if not 1 <= top <= MOST_TOP:
            raise ValueError(f"top is {top}; it must be 1 to {MOST_TOP}")
        self._target, self._hand_over, self._top = target, hand_over, top
        self._label, self._copiers = label, copiers
        self._unfinished: dict[str, _Unfinished] = {}

    def record(self, logits: Tensor, emissions: Sequence[Emission]) -> None:
        """See `decoding.emission.Recorder`."""
        traced = [each for each in emissions if each.output.request.is_traced]
        if not traced:
            return
        for emission, run in zip(traced, self._runs(logits, traced), strict=True):
            request_id = emission.output.request.request_id
            unfinished = self._unfinished.setdefault(request_id, _Unfinished())
            unfinished.origins += emission.output.origins
            unfinished.runs.append(run)
            drafter = emission.drafter
            if drafter:
                unfinished.propose(self._label(drafter), drafter in self._copiers)
            if emission.output.finish_reason is not None:
                self.end(emission.output.request, emission.output.finish_reason)

    def end(self, request: Request, reason: FinishReason | None) -> None:
        """See `decoding.emission.Recorder`."""
        unfinished = self._unfinished.pop(request.request_id, None)
        if unfinished is not None and reason is not None:
            self._hand_over(self._trace(request, unfinished, reason))

    def _runs(self, logits: Tensor, emissions: Sequence[Emission]) -> list[_Run]:
        rows = torch.tensor([row for each in emissions for row in each.rows], device=logits.device)
        token_ids = torch.tensor([token for each in emissions for token in each.output.token_ids], device=logits.device)
        probs = logits[rows].softmax(dim=-1)
        best = probs.topk(min(self._top, probs.size(-1)), dim=-1)
        columns = (
            probs.gather(-1, token_ids[:, None])[:, 0].float(),
            torch.cat([_drawn_probs(each, logits) for each in emissions]).float(),
            best.indices.int(),
            best.values.half(),
        )
        sizes = [len(each.places) for each in emissions]
        parts = [torch.split_with_sizes(column.cpu(), sizes) for column in columns]
        return [_Run(*row) for row in zip(*parts, strict=True)]

    def _trace(self, request: Request, unfinished: _Unfinished, reason: FinishReason) -> SpeculationTrace:
        probs, drawn_probs, top_ids, top_probs = (torch.cat(column) for column in zip(*unfinished.runs, strict=True))
        return SpeculationTrace(
            token_ids=list(request.token_ids),
            prompt_length=len(request.prompt_token_ids),
            origins=unfinished.origins,
            run_lengths=[len(run.probs) for run in unfinished.runs],
            probs=probs,
            drawn_probs=drawn_probs,
            top_ids=top_ids,
            top_probs=top_probs,
            sampling=request.sampling,
            finish_reason=reason,
            topic=request.topic,
            draft=unfinished.draft,
            target=self._target,
        )


def _drawn_probs(emission: Emission, like: Tensor) -> Tensor:
    """Of an emission's tokens, under the law that they were drawn from."""
    if isinstance(emission.law, list):
        return like.new_ones(len(emission.places))
    return emission.law[emission.places, emission.output.token_ids]
