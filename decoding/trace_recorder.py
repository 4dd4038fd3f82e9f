"""Makes a trace of each request that is to be traced, while it is decoded.

Raw probabilities are the softmax of a row's raw logits, and a row's logits do not depend on the rows beside it: so
what a trace says of a token is the same with every draft, length and company, bit for bit.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from decoding.emission import Emission
from decoding.request import FinishReason, Origin, Request
from decoding.trace import SpeculationTrace

MOST_TOP = 256  # most probable tokens kept a position
MOST_HELD = 512  # finished traces that wait for their topic; beyond it the oldest goes without
_MOST_ROWS = 32  # of raw logits held before they are read; half a megabyte for a vocabulary of 4096


@dataclass(slots=True)
class _Unfinished:
    """A trace in the making; the lists of tensors hold a row a token, in pieces."""

    origins: list[Origin] = field(default_factory=list)
    run_lengths: list[int] = field(default_factory=list)
    drawn_probs: list[Tensor] = field(default_factory=list)  # of sampled requests
    probs: list[Tensor] = field(default_factory=list)
    top_ids: list[Tensor] = field(default_factory=list)
    top_probs: list[Tensor] = field(default_factory=list)
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
        self._undecided: set[str] = set()  # requests whose topic is still to come, decoded to their end or not
        self._held: dict[str, SpeculationTrace] = {}  # which ended before it came
        # Emissions whose figures are still to be taken. One softmax for the rows of many steps costs little more than
        # for those of one.
        self._logits: list[Tensor] = []
        self._token_ids: list[int] = []
        self._owners: list[tuple[_Unfinished, int]] = []  # with the number of their rows

    def record(self, logits: Tensor, emissions: Sequence[Emission]) -> None:
        """See `decoding.emission.Recorder`."""
        traced = [each for each in emissions if each.output.request.is_traced]
        if not traced:
            return
        rows = [row for each in traced for row in each.rows]
        self._logits.append(logits[torch.tensor(rows, device=logits.device)])
        for emission in traced:
            self._take(emission)
        if len(self._token_ids) >= _MOST_ROWS:
            self._read()
        for emission in traced:
            if emission.output.finish_reason is not None:
                self.end(emission.output.request, emission.output.finish_reason)

    def end(self, request: Request, reason: FinishReason | None) -> None:
        """See `decoding.emission.Recorder`."""
        unfinished = self._unfinished.pop(request.request_id, None)
        if unfinished is None or reason is None:
            self._undecided.discard(request.request_id)
            return
        self._read()
        trace = self._trace(request, unfinished, reason)
        if request.request_id not in self._undecided:
            self._hand_over(trace)
            return
        self._held[request.request_id] = trace
        if len(self._held) > MOST_HELD:
            self.settle(next(iter(self._held)), None)

    def await_topic(self, request_id: str) -> None:
        """Hold the trace of a request until `settle` says what its topic is, even if it ends before."""
        self._undecided.add(request_id)

    def settle(self, request_id: str, topic: str | None) -> None:
        """Its topic is known, or will never be. Unknown ids are fine."""
        self._undecided.discard(request_id)
        trace = self._held.pop(request_id, None)
        if trace is not None:
            self._hand_over(replace(trace, topic=topic))

    def settle_all(self) -> None:
        """No more topics will come."""
        for request_id in list(self._held):
            self.settle(request_id, None)

    def _take(self, emission: Emission) -> None:
        output, drafter = emission.output, emission.drafter
        unfinished = self._unfinished.setdefault(output.request.request_id, _Unfinished())
        unfinished.origins += output.origins
        unfinished.run_lengths.append(len(output.token_ids))
        if not isinstance(emission.law, list):
            unfinished.drawn_probs.append(emission.law[emission.places, output.token_ids])
        if drafter:
            unfinished.propose(self._label(drafter), drafter in self._copiers)
        self._token_ids += output.token_ids
        self._owners.append((unfinished, len(output.token_ids)))

    def _read(self) -> None:
        """Take the figures of all rows that are held."""
        if not self._owners:
            return
        probs = torch.cat(self._logits).softmax(dim=-1)
        token_ids = torch.tensor(self._token_ids, device=probs.device)
        best = probs.topk(min(self._top, probs.size(-1)), dim=-1)
        columns = probs.gather(-1, token_ids[:, None])[:, 0].float(), best.indices.int(), best.values.half()
        sizes = [size for _, size in self._owners]
        parts = zip(*(torch.split_with_sizes(column.cpu(), sizes) for column in columns), strict=True)
        for (unfinished, _), (own, top_ids, top_probs) in zip(self._owners, parts, strict=True):
            unfinished.probs.append(own)
            unfinished.top_ids.append(top_ids)
            unfinished.top_probs.append(top_probs)
        self._logits, self._token_ids, self._owners = [], [], []

    def _trace(self, request: Request, unfinished: _Unfinished, reason: FinishReason) -> SpeculationTrace:
        probs, drawn = torch.cat(unfinished.probs), unfinished.drawn_probs
        return SpeculationTrace(
            token_ids=list(request.token_ids),
            prompt_length=len(request.prompt_token_ids),
            origins=unfinished.origins,
            run_lengths=unfinished.run_lengths,
            probs=probs,
            drawn_probs=torch.cat(drawn).float().cpu() if drawn else torch.ones_like(probs),
            top_ids=torch.cat(unfinished.top_ids),
            top_probs=torch.cat(unfinished.top_probs),
            sampling=request.sampling,
            finish_reason=reason,
            topic=request.topic,
            draft=unfinished.draft,
            target=self._target,
        )
