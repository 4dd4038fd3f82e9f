"""Which drafter proposes how many tokens for each request of a step."""

from collections.abc import Callable, Mapping, Sequence

from decoding.acceptance import AcceptanceEstimate
from decoding.controller import NOTHING, Choice, LengthController, Source
from decoding.drafter import Drafter
from decoding.joint import joint_of
from decoding.request import Request

Plan = tuple[str | None, int]  # a drafter and a number of tokens
Choose = Callable[[Sequence[Sequence[Source]], int, int, int], list[Choice]]  # `LengthController.choose`
_NOTHING: Plan = (None, 0)
_HOLDS = 2  # steps: what is planned for comes slowly, and planning takes a share of a small model's step


class ProposalPlanner:
    """Plans proposals: as long as a request asks for, or a fixed length, or what a controller finds best.

    What a controller finds holds for two steps, as long as the same requests run with the same drafters. Where
    there is something to copy for one of them, or nothing any more, the controller is asked again at once, with what
    the others may expect left as it was.

    Args:
        drafters: by the names that requests carry; looked up anew at each step.
        num_draft_tokens: a length for requests that leave it open, or a controller.
        companion: name of a drafter whose proposals are free, such as prompt lookup. A controller may let it
            propose in place of a request's own drafter, step by step; a fixed length is the drafter's own.
        choose: chooses as the controller does, for less (`decoding.native.choice`).
    """

    def __init__(
        self,
        drafters: Mapping[str, Drafter],
        num_draft_tokens: int | LengthController,
        companion: str | None = None,
        choose: Choose | None = None,
    ):
        self._drafters, self._lengths, self._companion = drafters, num_draft_tokens, companion
        self._choose = choose
        self._planned_for: tuple[object, ...] = ()
        self._copies: list[bool] = []  # whether there was something to copy for each request
        self._options: list[list[Source]] = []
        self._names: set[str] = set()  # of the drafters that the plans rest on
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
        key = rows, emitting, [(request.request_id, request.drafter) for request in requests]
        copies, before = self._look_for_copies(requests), self._copies
        options = self._options
        is_same = key == self._planned_for and self._names <= self._drafters.keys()
        if is_same and self._left:
            self._left -= 1
            held = self._held(requests) if copies == before else None
            if held is not None:
                return held
            for index, (may_copy, might_copy) in enumerate(zip(copies, before, strict=True)):
                if may_copy != might_copy:
                    options[index] = self._sources(requests[index])
        else:
            self._left = _HOLDS - 1
            names = {request.drafter for request in requests} | {self._companion}
            self._names = {name for name in names if name is not None and name in self._drafters}
            if is_same:
                options = [self._renewed(*each) for each in zip(requests, options, copies, before, strict=True)]
            else:
                options = [self._sources(request) for request in requests]
            self._options = options
        self._planned_for, self._copies = key, copies
        self._plans = self._plan(requests, options, rows, emitting, cached)
        return self._plans

    def _look_for_copies(self, requests: Sequence[Request]) -> list[bool]:
        """Whether a free drafter would find something for each request."""
        companion = self._drafters.get(self._companion or "")
        if companion is not None and companion.num_drafts:
            companion = None
        return [
            (companion is not None and request.may_copy and companion.behind(request) is not None)
            or self._copies_itself(request)
            for request in requests
        ]

    def _copies_itself(self, request: Request) -> bool:
        drafter = self._drafters.get(request.drafter or "")
        return drafter is not None and drafter.num_drafts == 0 and drafter.behind(request) is not None

    def _held(self, requests: Sequence[Request]) -> list[Plan] | None:
        """The plans of an earlier step; None where one waits no longer."""
        plans: list[Plan] = []
        for request, plan in zip(requests, self._plans, strict=True):
            most = request.num_remaining - 1
            plans.append(plan if plan[1] <= most else (plan[0], most) if most > 0 else _NOTHING)
        are_waiting = [estimate.waits(was_proposed=False) for estimate in self._waiting]
        return plans if all(are_waiting) else None

    def _plan(
        self, requests: Sequence[Request], options: list[list[Source]], rows: int, emitting: int, cached: int
    ) -> list[Plan]:
        assert isinstance(self._lengths, LengthController)
        self._waiting = []
        if not any(options):
            return [self._asked(request) or _NOTHING for request in requests]
        choose = self._choose or self._lengths.choose
        choices = choose(options, rows, emitting, cached)
        may_pay = NOTHING in choices and self._lengths.may_pay(rows, emitting, cached)
        return [
            (self._choice_or_trial(request, choice, may_pay) if own else self._asked(request)) or _NOTHING
            for request, own, choice in zip(requests, options, choices, strict=True)
        ]

    def feedback(self, request: Request, drafter: str, accepted: int, was_rejected: bool) -> None:
        """A proposal of ``drafter`` was verified."""
        if not isinstance(self._lengths, int):
            (request.estimates.get(drafter) or self._estimate(request, drafter)).add(accepted, was_rejected)

    def _asked(self, request: Request) -> Plan | None:
        """What leaves nothing to plan; None otherwise."""
        if request.drafter is None or request.drafter not in self._drafters or request.num_remaining < 2:
            return _NOTHING
        return None if request.num_draft_tokens is None else self._own(request, request.num_draft_tokens)

    def _own(self, request: Request, length: int) -> Plan:
        length = min(length, request.num_remaining - 1)  # the target adds one token of its own
        return (request.drafter, length) if length > 0 else _NOTHING

    def _sources(self, request: Request) -> list[Source]:
        """Who may propose for a request; nobody where there is nothing to plan."""
        if self._asked(request) is not None:
            return []
        assert isinstance(self._lengths, LengthController)
        longest = min(self._lengths.longest, request.num_remaining - 1)
        own = self._source(request, request.drafter, longest)
        sources = [own] if own is not None else []
        if request.may_copy and self._companion != request.drafter:
            companion = self._source(request, self._companion, longest)
            if companion is not None:
                sources.append(companion)
        return sources

    def _renewed(self, request: Request, sources: list[Source], may_copy: bool, might_copy: bool) -> list[Source]:
        """Its sources with what has been learned since; the same ones where nothing else has changed."""
        assert isinstance(self._lengths, LengthController)
        longest = self._lengths.longest
        is_bound = request.num_draft_tokens is not None or request.num_remaining <= longest
        if is_bound or may_copy != might_copy or not sources or sources[0].drafter != request.drafter:
            return self._sources(request)
        for source in sources:
            drafter = self._drafters[source.drafter]
            behind = drafter.behind(request)
            if behind is None or source.nodes or source.joint is not joint_of(drafter):
                return self._sources(request)
            source.behind, source.survival = behind, self._estimate(request, source.drafter).worthwhile(longest)
        return sources

    def _source(self, request: Request, name: str | None, longest: int) -> Source | None:
        drafter = self._drafters.get(name or "")
        behind = drafter.behind(request) if drafter is not None else None
        if name is None or drafter is None or behind is None:
            return None
        nodes = _nodes(drafter, longest)
        estimate = self._estimate(request, name)
        survival = estimate.survival(len(nodes)) if nodes else estimate.worthwhile(longest)
        return Source(name, survival, drafter.num_drafts == 0, behind, nodes, drafter.num_drafts, joint_of(drafter))

    def _choice_or_trial(self, request: Request, choice: Choice, may_pay: bool) -> Plan | None:
        """The choice, or one token of the own drafter where nothing else would ever be learned about it."""
        if choice.source is not None:
            if choice.source.drafter == request.drafter:
                self._estimate(request, choice.source.drafter).waits(was_proposed=True)
            return choice.source.drafter, min(choice.length, request.num_remaining - 1)
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
