"""From the router's decision to a draft: the price rule, at what steps cost on this machine with this many requests."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from decoding.controller import LengthController
from decoding.request import Request
from decoding.step_loop import StepLoop
from drafts.pool import GENERAL, LOOKUP, DraftPool
from drafts.prompt_lookup import PromptLookup
from router.decision import RoutingDecision
from router.pricing import Offer, Rule, decide


@dataclass(frozen=True, slots=True)
class _Abstained:
    """A request that gets no draft, and how many ran when that was decided."""

    request: Request
    decision: RoutingDecision
    requests: int


class DraftPrices:
    """Which draft a routed request gets, and which rule decided.

    The acceptance of each draft on the query is the router's prediction; where it makes none, that of the chosen
    draft is what its version was registered with, at the request's temperature, and no other draft is weighed against
    it. A length that is fixed, by the deployment or the request, leaves nothing to weigh either.

    What no draft pays for is asked again when fewer requests run. The other way round needs no rule here: where
    more run, the controller lets a draft rest.

    Args:
        lengths: of proposals; a controller knows what steps cost.
    """

    def __init__(self, loop: StepLoop, pool: DraftPool, lengths: int | LengthController):
        self._loop, self._pool = loop, pool
        self._controller = lengths if isinstance(lengths, LengthController) else None
        self._abstained: dict[str, _Abstained] = {}

    def settle(self, request: Request, decision: RoutingDecision) -> tuple[str | None, str]:
        """The draft, loaded, and the reason; None for no proposals at all."""
        if self._controller is None or request.num_draft_tokens is not None:
            return self._pool.select(decision.draft), decision.reason
        name = decision.draft if decision.draft in self._pool.specs else GENERAL
        if name not in self._pool.specs:
            return self._pool.select(name), decision.reason
        requests = self._num_requests()
        verdict_name, rule = self._decide(request, decision, name, requests)
        self._abstained.pop(request.request_id, None)
        if rule in (Rule.CHEAPER_LOOKUP, Rule.NO_GAIN):
            self._abstained[request.request_id] = _Abstained(request, decision, requests)
        draft = self._pool.select(verdict_name) if verdict_name is not None else None
        return draft, decision.reason if rule == Rule.CHOSEN else rule.value

    def to_ask_again(self) -> Iterator[tuple[Request, RoutingDecision]]:
        """Requests without a draft, now that fewer run than when that was decided."""
        if self._abstained:
            requests = self._num_requests()
            for each in [each for each in self._abstained.values() if requests < each.requests]:
                yield each.request, each.decision

    def forget(self, request_id: str) -> None:
        """The request is over. Unknown ids are fine."""
        self._abstained.pop(request_id, None)

    def _decide(self, request: Request, decision: RoutingDecision, name: str, requests: int) -> tuple[str | None, Rule]:
        assert self._controller is not None
        predicted = dict(decision.acceptance)
        if decision.reason == "out_of_scope" or name not in predicted:
            predicted = {}  # like is weighed against like
        sharing = Counter(other.drafter for other in self._loop.requests if other is not request)
        plain, width = self._runs(requests)
        temperature = request.sampling.temperature

        def offer(draft: str, alpha: float) -> Offer:
            share = min(sharing[draft] + 1, requests)
            assert self._controller is not None
            return Offer(draft, alpha, self._controller.costs.draft_step(share) / share / plain)

        chosen = offer(name, predicted.get(name, self._pool.specs[name].prior.at(temperature)))
        others = [offer(draft, alpha) for draft, alpha in predicted.items() if draft in self._pool.specs]
        general = next((other for other in others if other.name == GENERAL), None)
        rivals = [other for other in others if other.name not in (GENERAL, name)]
        lookup = Offer(LOOKUP, PromptLookup.prior.at(temperature), 0.0) if LOOKUP in self._pool else None
        verdict = decide(chosen, width, rivals, general, lookup)
        return verdict.name, verdict.rule

    def _runs(self, requests: int) -> tuple[float, list[float]]:
        """A request's part of a run in which nobody proposes, and runs with 0, 1, 2 .. tokens of each beside it."""
        assert self._controller is not None
        costs = self._controller.costs
        attention = costs.attention(requests * costs.context)
        runs = [costs.target_run(requests * (1 + length)) + attention for length in range(self._controller.longest + 1)]
        return runs[0] / requests, [run / runs[0] for run in runs]

    def _num_requests(self) -> int:
        """What may run at once."""
        waiting = self._loop.num_running + self._loop.num_waiting
        return max(1, min(waiting, len(self._loop.target.cache.lengths)))
