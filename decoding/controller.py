"""What each request should propose, so that the whole batch yields most tokens a unit of time."""

from collections.abc import Sequence
from dataclasses import dataclass

from decoding.costs import StepCosts

_TABLE = 512  # row counts whose costs are tabulated
_LEAST_GAIN = 1.03  # of the rate: what a proposal costs outside of forwards, and estimates picked for being high
_CATCH_UP_STEPS = 24  # steps over which the cost of a draft's catching up is spread


@dataclass(frozen=True, slots=True)
class Source:
    """One way to propose for one request in this step.

    Attributes:
        drafter: its name.
        survival: chance that each token, with all before it, is accepted; no longer than the request can use.
        is_free: its proposals cost no draft step (prompt lookup).
        behind: tokens that the draft must be fed before it can propose.
    """

    drafter: str
    survival: Sequence[float]
    is_free: bool = False
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What one request proposes: a source, or None, and how many tokens."""

    source: Source | None = None
    length: int = 0


NOTHING = Choice()


class LengthController:
    """Picks sources and lengths by what they cost and bring.

    With lambda tokens a unit of time, a token at depth j of request i brings S_i(j), the chance that it is
    accepted, and costs lambda times its row of the target run and its draft step. Each request takes its
    best source at that price, if it has one that pays; then the most valuable tokens are added one by one
    while (emitted + sum of S) / (draft steps + target run) grows: for a given number of rows the largest S
    are the best set, and it is closed under "the token before". The rate found is the next lambda, until
    nothing changes (Dinkelbach's method). Where all this gains next to nothing, nothing is proposed.

    Choices depend on committed tokens and earlier steps only, never on this step's proposals, so they
    leave the law unchanged.

    Args:
        costs: measured on this machine.
        longest: most tokens to propose for one request.
    """

    def __init__(self, costs: StepCosts, longest: int = 8):
        self.costs, self.longest = costs, longest
        self._rows = [0.0, *(costs.target_run(rows) for rows in range(1, _TABLE))]
        self._draft = [costs.draft_step(requests) for requests in range(_TABLE)]
        self._pays: dict[tuple[int, float], bool] = {}

    def choose(self, options: Sequence[Sequence[Source]], rows: int, emitting: int, cached: int = 0) -> list[Choice]:
        """A choice for each request.

        Args:
            options: the sources of each request; none at all is fine.
            rows: rows that this step's target run has anyway.
            emitting: requests that get a token from it anyway.
            cached: tokens in the cache that the run attends to, over all its requests.
        """
        extra = self.costs.attention(cached)
        plain = price = emitting / (self._target(rows) + extra)
        choices = [NOTHING] * len(options)
        for _ in range(3):
            sources = self._sources(options, rows, price)
            if not any(sources):
                break
            found, rate = self._scan(sources, rows, emitting, extra, price)
            if rate <= price:
                break
            choices, price = found, rate
        return choices if price > plain * _LEAST_GAIN else [NOTHING] * len(options)

    def drafting_pays(self, requests: int, alpha: float) -> bool:
        """Whether drafts of acceptance ``alpha`` would be asked for, were so many requests to have one each."""
        key = requests, alpha
        if key not in self._pays:
            survival = [alpha**depth for depth in range(1, self.longest + 1)]
            options = [[Source(str(number), survival)] for number in range(requests)]
            cached = requests * self.costs.context
            self._pays[key] = any(choice.length for choice in self.choose(options, requests, requests, cached))
        return self._pays[key]

    def may_pay(self, rows: int, emitting: int, cached: int = 0) -> bool:
        """Whether one more token would raise the rate if it were accepted for certain."""
        base = self._target(rows) + self.costs.attention(cached)
        more = base - self._target(rows) + self._target(rows + 1) + self._draft[1]
        return (emitting + 1) / more > emitting / base

    def _target(self, rows: int) -> float:
        return self._rows[rows] if rows < _TABLE else self.costs.target_run(rows)

    def _sources(self, options: Sequence[Sequence[Source]], rows: int, price: float) -> list[Source | None]:
        """The best source of each request at ``price``, None where none pays."""
        ahead = max(1, len(options))  # a token each: later rows may cost more, which the scan finds out
        row = price * (self._target(rows + ahead) - self._target(rows)) / ahead
        sharing: dict[str, int] = {}
        for sources in options:
            for source in sources:
                sharing[source.drafter] = sharing.get(source.drafter, 0) + 1
        result: list[Source | None] = []
        for sources in options:
            best, most = None, 0.0
            for source in sources:
                share = sharing[source.drafter]
                step = 0.0 if source.is_free else price * self._draft[min(share, _TABLE - 1)] / share
                worth = _worth(source.survival, row + step) - price * self._catching_up(source.behind)
                if worth > most:
                    best, most = source, worth
            result.append(best)
        return result

    def _catching_up(self, behind: int) -> float:
        """Cost of feeding what the draft missed, spread over the steps that profit from it."""
        return self._draft[min(behind, _TABLE - 1)] / _CATCH_UP_STEPS if behind > 1 else 0.0

    def _scan(
        self, sources: Sequence[Source | None], rows: int, emitting: int, extra: float, price: float
    ) -> tuple[list[Choice], float]:
        """Lengths for the given sources, and the rate that they reach."""
        tokens = [(-s, i) for i, source in enumerate(sources) if source for s in source.survival[: self.longest]]
        tokens.sort()  # a request's own stay in order: its chances fall, and ties are equal
        lengths, best = [0] * len(sources), [0] * len(sources)
        drafting: dict[str, tuple[int, int]] = {}  # requests and deepest token of each draft
        expected, drafts, best_rate = float(emitting), 0.0, price
        for minus_gain, index in tokens:
            source = sources[index]
            assert source is not None
            lengths[index] += 1
            expected -= minus_gain
            rows += 1
            if not source.is_free:
                requests, depth = drafting.get(source.drafter, (0, 0))
                after = requests + (lengths[index] == 1), max(depth, lengths[index])
                if after != (requests, depth):
                    drafts += after[1] * self._draft[after[0]] - depth * self._draft[requests]
                    drafting[source.drafter] = after
            rate = expected / (self._target(rows) + extra + drafts)
            if rate > best_rate:
                best_rate, best = rate, list(lengths)
        return [Choice(source, n) if n else NOTHING for source, n in zip(sources, best, strict=True)], best_rate


def _worth(survival: Sequence[float], cost: float) -> float:
    """What the best number of tokens brings, beyond ``cost`` each; chances only fall."""
    worth = 0.0
    for chance in survival:
        if chance <= cost:
            break
        worth += chance - cost
    return worth
