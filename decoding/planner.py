"""Which drafter proposes how many tokens for each request of a step."""

from collections.abc import Mapping, Sequence

from decoding.acceptance import AcceptanceEstimate
from decoding.controller import Choice, LengthController, Source
from decoding.drafter import Drafter
from decoding.joint import joint_of
from decoding.request import Request

Plan = tuple[str | None, int]  # a drafter and a number of tokens
_NOTHING: Plan = (None, 0)
_HOLDS = 3  # steps: what is planned for comes slowly, and planning takes a share of a small model's step


class ProposalPlanner:
    """Plans proposals: as long as a request asks for, or a fixed length, or what a controller finds best.

    What a controller finds holds for a few steps, as long as the same requests run with the same drafters, and there
    is as much, or as little, to copy for each of them.

    Args:
        drafters: by the names that requests carry; looked up anew at each step.
        num_draft_tokens: a length for requests that leave it open, or a controller.
        companion: name of a drafter whose proposals are free, such as prompt lookup. A controller may let it
            propose in place of a request's own drafter, step by step; a fixed length is the drafter's own.
    """

    def __init__(
        self, drafters: Mapping[str, Drafter], num_draft_tokens: int | LengthController, companion: str | None = None
    ):
        self._drafters, self._lengths, self._companion = drafters, num_draft_tokens, companion
        self._planned_for: list[object] = []
        self._plans: list[Plan] = []
        self._waiting: list[AcceptanceEstimate] = []  # of requests that propose nothing until it may pay again
        self._left = 0  # steps for which the plans still hold

    def plan(self, requests: Sequence[Request], rows: int, emitting: int, cached: int) -> list[Plan]:
        """A plan for each request that has exactly one token pending.

        Args:
            rows: rows that this step's target run has anyway.
            emitting: requests that get a token from it anyway.
            cached: tokens in the cache that the run attends to.
        """
        if isinstance(self._lengths, int):
            return [self._asked(request) or self._own(request, self._lengths) for request in requests]
        key = [rows, emitting, *[(request.request_id, request.drafter) for request in requests]]
        # A copy that turns up, or comes to its end, cannot wait.
        key += [self._may_copy(request) for request in requests]
        held = self._held(requests) if self._left and key == self._planned_for else None
        if held is not None:
            self._left -= 1
            return held
        self._planned_for, self._left, self._waiting = key, _HOLDS - 1, []
        self._plans = self._plan(self._lengths, requests, rows, emitting, cached)
        return self._plans

    def _may_copy(self, request: Request) -> bool:
        """Whether somebody would find something to copy for a request."""
        names = {request.drafter, self._companion if request.may_copy else None}
        return any(
            drafter.num_drafts == 0 and drafter.behind(request) is not None
            for name in names
            if (drafter := self._drafters.get(name or "")) is not None
        )

    def _held(self, requests: Sequence[Request]) -> list[Plan] | None:
        """The plans of an earlier step; None where something has changed that they rest on."""
        plans: list[Plan] = []
        for request, (name, planned) in zip(requests, self._plans, strict=True):
            if name is not None and name not in self._drafters:
                return None
            length = min(planned, request.num_remaining - 1)
            plans.append((name, length) if length > 0 else _NOTHING)
        are_waiting = [estimate.waits(was_proposed=False) for estimate in self._waiting]
        return plans if all(are_waiting) else None

    def _plan(
        self, lengths: LengthController, requests: Sequence[Request], rows: int, emitting: int, cached: int
    ) -> list[Plan]:
        plans = [self._asked(request) for request in requests]
        options = [[] if plan else self._sources(request) for plan, request in zip(plans, requests, strict=True)]
        if any(options):
            choices = lengths.choose(options, rows, emitting, cached)
            may_pay = lengths.may_pay(rows, emitting, cached)
            for index, (request, choice) in enumerate(zip(requests, choices, strict=True)):
                if options[index]:
                    plans[index] = self._choice_or_trial(request, choice, may_pay)
        return [plan or _NOTHING for plan in plans]

    def feedback(self, request: Request, drafter: str, accepted: int, was_rejected: bool) -> None:
        """A proposal of ``drafter`` was verified."""
        if isinstance(self._lengths, LengthController):
            self._estimate(request, drafter).add(accepted, was_rejected)

    def _asked(self, request: Request) -> Plan | None:
        """What leaves nothing to plan; None otherwise."""
        if request.drafter is None or request.drafter not in self._drafters or request.num_remaining < 2:
            return _NOTHING
        return None if request.num_draft_tokens is None else self._own(request, request.num_draft_tokens)

    def _own(self, request: Request, length: int) -> Plan:
        length = min(length, request.num_remaining - 1)  # the target adds one token of its own
        return (request.drafter, length) if length > 0 else _NOTHING

    def _sources(self, request: Request) -> list[Source]:
        names = [request.drafter]
        if request.may_copy and self._companion != request.drafter:
            names.append(self._companion)
        return [source for name in names if (source := self._source(request, name)) is not None]

    def _source(self, request: Request, name: str | None) -> Source | None:
        drafter = self._drafters.get(name or "")
        behind = drafter.behind(request) if drafter is not None else None
        if name is None or drafter is None or behind is None:
            return None
        assert isinstance(self._lengths, LengthController)
        longest = min(self._lengths.longest, request.num_remaining - 1)
        nodes = _nodes(drafter, longest)
        estimate = self._estimate(request, name)
        survival = estimate.survival(len(nodes)) if nodes else estimate.worthwhile(longest)
        return Source(name, survival, drafter.num_drafts == 0, behind, nodes, drafter.num_drafts, joint_of(drafter))

    def _choice_or_trial(self, request: Request, choice: Choice, may_pay: bool) -> Plan:
        """The choice, or one token of the own drafter where nothing else would ever be learned about it."""
        if choice.source is not None:
            if choice.source.drafter == request.drafter:
                self._estimate(request, choice.source.drafter).waits(was_proposed=True)
            return choice.source.drafter, choice.length
        assert request.drafter is not None
        estimate = self._estimate(request, request.drafter)
        if estimate.waits(was_proposed=False) or not may_pay:
            self._waiting.append(estimate)
            return _NOTHING
        estimate.tried()
        self._left = 0  # the trial is for one step
        return request.drafter, 1

    def _estimate(self, request: Request, name: str) -> AcceptanceEstimate:
        estimate = request.estimates.get(name)
        if estimate is None:
            estimate = request.estimates[name] = AcceptanceEstimate(
                self._drafters[name].prior, request.sampling.temperature
            )
        return estimate


def _nodes(drafter: Drafter, longest: int) -> Sequence[int]:
    """Nodes of its trees by depth, as far as they grow; empty for chains."""
    if drafter.num_nodes(longest) == longest:
        return ()
    nodes = [drafter.num_nodes(depth) for depth in range(1, longest + 1)]
    return nodes[: nodes.index(nodes[-1]) + 1]
