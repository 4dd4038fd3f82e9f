"""The step loop: propose, verify, commit, for all running requests together.

One step is one target forward over the rows of every running request: prompt chunks, last tokens and
proposals of all drafters side by side. Prompts need no phase of their own: a request's *pending* tokens
are those that its cache slot does not hold yet, one while it decodes, the whole prompt when it starts.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter

from torch import Tensor

from decoding.controller import LengthController
from decoding.drafter import Drafter
from decoding.emission import Emission, Recorder, add_logprobs, refused_token
from decoding.joint import Order, propose_all
from decoding.laws import Law, laws
from decoding.model import LanguageModel, by_proposal
from decoding.native.choice import NativeChoice
from decoding.native_model import NativeModel
from decoding.planner import ProposalPlanner
from decoding.processors import Block
from decoding.request import FinishReason, Origin, Request, StepOutput
from decoding.turn import StepTimes, Turn
from decoding.verification import VerificationResult, verify_all, verify_greedy

Orders = tuple[list[Turn], list[int]]  # whom one drafter proposes for, and how many tokens each
_LEAST_PROMPT = 32  # tokens; shorter prompts are read no slower as an answer is


class StepLoop:
    """Decodes a batch of requests with one target and any number of drafters.

    Args:
        target: its cache has a slot for every request that may run at once.
        drafters: by the names that requests carry; looked up anew at each step, so entries may come and go.
        num_draft_tokens: proposal length for requests that leave it open; a controller picks it step by step.
        max_rows: most prompt rows in one forward, so that a long prompt delays its batch mates little.
        companion: a drafter with free proposals that a controller may let propose in place of a request's own.
        recorder: is shown what the target says of requests that are to be traced.
    """

    def __init__(
        self,
        target: LanguageModel,
        drafters: Mapping[str, Drafter],
        num_draft_tokens: int | LengthController = 4,
        max_rows: int = 256,
        companion: str | None = None,
        recorder: Recorder | None = None,
    ):
        self.target = target
        self.drafters = drafters
        self._companion, self._recorder = companion, recorder
        choose = None
        if isinstance(target, NativeModel) and isinstance(num_draft_tokens, LengthController):
            choose = NativeChoice(num_draft_tokens, target.kernel).choose
        self._planner = ProposalPlanner(drafters, num_draft_tokens, companion, choose)
        self.max_rows = max_rows
        self.times = StepTimes()
        self._waiting: deque[Request] = deque()
        self._running: dict[str, tuple[Request, int]] = {}

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def requests(self) -> list[Request]:
        """Everything in flight: running requests, then waiting ones."""
        return [*(request for request, _ in self._running.values()), *self._waiting]

    def admit(self, request: Request) -> None:
        """Queue a request; it starts at the next step that finds a free slot.

        Raises:
            ValueError: it could not finish within the cache's length, or biases what is no token.
        """
        needed, room = len(request.prompt_token_ids) + request.sampling.max_tokens, self.target.cache.max_length
        if not request.prompt_token_ids:
            raise ValueError("the prompt is empty")
        if needed > room:
            raise ValueError(f"prompt and answer may need {needed} tokens; this deployment holds {room}")
        unknown = [token for token, _ in request.sampling.logit_bias if token >= self.target.config.vocab_size]
        if unknown:
            raise ValueError(f"logit_bias names token {unknown[0]}; there are {self.target.config.vocab_size}")
        self._waiting.append(request)

    def assign(self, request_id: str, drafter: str | None) -> None:
        """Let ``drafter`` propose for a request from the next step on; unknown requests are fine."""
        for request in self.requests:
            if request.request_id == request_id and request.drafter != drafter:
                if request.drafter != self._companion:  # which goes on beside the new one
                    self._release(request, request.drafter)
                request.drafter = drafter

    def cancel(self, request_id: str, reason: FinishReason | None = None) -> bool:
        """Drop a request and free its slot at once; False if it is not here. A ``reason`` says that it is answered."""
        if request_id in self._running:
            if self._recorder is not None:
                self._recorder.end(self._running[request_id][0], reason)
            self._finish(*self._running[request_id])
            return True
        kept = [request for request in self._waiting if request.request_id != request_id]
        found = len(kept) < len(self._waiting)
        self._waiting = deque(kept)
        return found

    def step(self) -> list[StepOutput]:
        """One target run for every running request; empty when nothing runs."""
        began = perf_counter()
        self._start_waiting()
        turns = self._take_turns()
        if not turns:
            return []
        orders = self._plan(turns)
        planned = perf_counter()
        self._propose(turns, orders)
        drafted = perf_counter()
        logits = self.target.forward([turn.span() for turn in turns])
        verified = perf_counter()
        outputs = self._verify(turns, logits)
        self.times.num_steps += 1
        self.times.draft += drafted - planned
        self.times.target += verified - drafted
        self.times.total += perf_counter() - began
        return outputs

    def run(self, requests: Iterable[Request]) -> None:
        """Decode ``requests`` to their end; their tokens and counts are on them afterwards."""
        for request in requests:
            self.admit(request)
        while self._running or self._waiting:
            self.step()

    def _start_waiting(self) -> None:
        while self._waiting and self.target.cache.num_free:
            request = self._waiting.popleft()
            self._running[request.request_id] = (request, self.target.cache.allocate())

    def _take_turns(self) -> list[Turn]:
        turns: list[Turn] = []
        budget = self.max_rows
        for request, slot in self._running.values():
            cached = self.target.cache.lengths[slot]
            missing = len(request.token_ids) - cached
            rows = 1 if missing == 1 else min(missing, budget)  # decoding never waits for another's prompt
            if rows:
                is_prompt = cached < len(request.prompt_token_ids) >= _LEAST_PROMPT
                turns.append(Turn(request, slot, request.token_ids[cached : cached + rows], rows == missing, is_prompt))
            if missing > 1:
                budget -= rows
        return turns

    def _plan(self, turns: list[Turn]) -> list[Orders]:
        """Who proposes how much, by drafter."""
        ready: list[Turn] = []
        held, rows, emitting, cached, is_drafted = self.target.cache.lengths, 0, 0, 0, False
        for turn in turns:
            is_drafted = is_drafted or turn.request.drafter is not None
            rows += len(turn.pending)
            cached += held[turn.slot]
            if turn.is_complete:
                emitting += 1
                if len(turn.pending) == 1:
                    ready.append(turn)
        found: dict[str, Orders] = {}
        if not ready or not is_drafted:
            return []
        plans = self._planner.plan([turn.request for turn in ready], rows, emitting, cached)
        for turn, (name, planned) in zip(ready, plans, strict=True):
            if name is not None and (length := self._fitting(turn, name, planned)):
                turn.drafter = name
                order = found.get(name)
                if order is None:
                    order = found[name] = ([], [])
                order[0].append(turn)
                order[1].append(length)
        return [*found.values()]

    def _propose(self, turns: list[Turn], orders: list[Orders]) -> None:  # noqa: ARG002 (a device has use for all turns)
        """Have the drafters propose what was planned."""
        asked = [
            Order(self.drafters[theirs[0].drafter], [turn.request for turn in theirs], lengths)
            for theirs, lengths in orders
        ]
        for (theirs, _), proposals in zip(orders, propose_all(asked), strict=True):
            for turn, proposal in zip(theirs, proposals, strict=True):
                turn.proposal = proposal

    def _fitting(self, turn: Turn, drafter: str, num_draft_tokens: int) -> int:
        """The longest paths up to ``num_draft_tokens`` whose tree the slot has room for, whatever will be drawn."""
        cache, num_nodes = self.target.cache, self.drafters[drafter].num_nodes
        room = cache.max_length - cache.lengths[turn.slot] - len(turn.pending)
        while num_draft_tokens and num_nodes(num_draft_tokens) > room:
            num_draft_tokens -= 1
        return num_draft_tokens

    def _verify(self, turns: list[Turn], logits: Tensor) -> list[StepOutput]:
        emitting = [turn for turn in turns if turn.is_complete]
        if len(emitting) < len(turns):
            for turn in turns:
                if not turn.is_complete:
                    self.target.cache.commit(turn.slot, range(len(turn.pending)))
        proposals = [turn.proposal for turn in emitting]
        if False not in [turn.request.is_simple for turn in emitting]:
            results = self.target.verify_greedy(logits, proposals)
            return list(map(self._commit, emitting, results))
        if all(turn.request.sampling.is_plain for turn in emitting):
            best = by_proposal(self.target.argmax(logits), proposals)
            found: Sequence[Law] = best
            results = list(map(verify_greedy, proposals, best))
        else:
            found = laws(logits, [Block.whole(turn.request, turn.proposal) for turn in emitting], self.target.argmax)
            sources = [turn.request.randomness for turn in emitting]
            results = verify_all(proposals, found, sources, [turn.request.sampling.lossy for turn in emitting])
        outputs = list(map(self._commit, emitting, results))
        emissions = _emissions(emitting, found, results, outputs)
        if emissions:
            add_logprobs(logits, emissions)
            if self._recorder is not None:
                self._recorder.record(logits, emissions)
        return outputs

    def _commit(self, turn: Turn, result: VerificationResult) -> StepOutput:
        request, proposal, path, cache = turn.request, turn.proposal, result.path, self.target.cache
        rows, accepted = len(turn.pending), len(path)
        if not proposal.token_ids:  # most turns of a busy step: nothing to repair, nothing to learn
            cache.advance(turn.slot, rows)
            return self._emit(turn, [result.token_id], [Origin.PLAIN], 0)
        drafter, last = self.drafters[turn.drafter], path[-1] if path else -1
        drafter.commit(request, path)
        was_rejected = last in proposal.parents
        self._planner.feedback(request, turn.drafter, accepted, was_rejected)
        origin = drafter.origin
        if was_rejected:
            request.counts.num_rejected_drafts += 1
        if origin is Origin.LOOKUP:
            request.counts.num_copied_tokens += len(proposal.token_ids)
        if last == accepted - 1:  # nodes of a path rise
            cache.advance(turn.slot, rows + accepted)
            tokens = proposal.token_ids[:accepted]
        else:
            cache.commit(turn.slot, [*range(rows), *[rows + node for node in path]])
            tokens = [proposal.token_ids[node] for node in path]
        tokens.append(result.token_id)
        origins = [origin] * accepted
        origins.append(Origin.CORRECTED if was_rejected else Origin.BONUS)
        return self._emit(turn, tokens, origins, accepted)

    def _emit(self, turn: Turn, tokens: list[int], origins: list[Origin], num_accepted: int) -> StepOutput:
        request, finish_reason = turn.request, None
        if len(tokens) >= request.num_remaining or not request.sampling.stop_token_ids.isdisjoint(tokens):
            tokens, finish_reason = _cut(tokens, request)
            origins = origins[: len(tokens)]
        request.token_ids += tokens
        request.counts.add_run(len(turn.proposal.token_ids), num_accepted, len(tokens))
        if finish_reason is not None:
            self._finish(request, turn.slot)
        return StepOutput(request, tokens, origins, finish_reason, drafter=turn.drafter)

    def _finish(self, request: Request, slot: int) -> None:
        self.target.cache.release(slot)
        for name in {request.drafter, self._companion}:
            self._release(request, name)
        del self._running[request.request_id]

    def _release(self, request: Request, drafter: str | None) -> None:
        if drafter is not None and drafter in self.drafters:
            self.drafters[drafter].release(request.request_id)


def _emissions(
    turns: list[Turn], found: Sequence[Law], results: list[VerificationResult], outputs: list[StepOutput]
) -> list[Emission]:
    """Of the requests that are observed."""
    emissions: list[Emission] = []
    start = 0
    for turn, law, result, output in zip(turns, found, results, outputs, strict=True):
        if turn.request.is_observed:
            places = [0, *(1 + node for node in result.path)][: len(output.token_ids)]
            output.refused = refused_token(turn.proposal, result.path)
            emissions.append(Emission(output, start, places, law, turn.drafter if len(turn.proposal) else ""))
        start += 1 + len(turn.proposal)
    return emissions


def _cut(tokens: list[int], request: Request) -> tuple[list[int], FinishReason | None]:
    """``tokens`` up to the first stop token or the last one allowed, and why the request ends there, if it does."""
    remaining, stops = request.num_remaining, request.sampling.stop_token_ids
    for count, token_id in enumerate(tokens, start=1):
        if token_id in stops:
            return tokens[:count], FinishReason.STOP
        if count == remaining:
            return tokens[:count], FinishReason.LENGTH
    return tokens, None
