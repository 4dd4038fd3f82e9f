"""What each request should propose, so that the whole batch yields most tokens a unit of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from decoding.costs import StepCosts
from decoding.proposal import MAX_DRAFT_TOKENS

_TABLE = 512  # row counts whose costs are tabulated
LEAST_GAIN = 1.03  # of the rate: what a proposal costs outside of forwards, and estimates picked for being high
CATCH_UP_STEPS = 24  # steps over which the cost of a draft's catching up is spread


@dataclass(slots=True, eq=False)
class Source:
    """One way to propose for one request in this step.

    Attributes:
        drafter: its name.
        survival: chance that each token, with all before it, is accepted; no longer than the request can use. Of a
            tree, that a path gets so deep.
        is_free: its proposals cost no draft step (prompt lookup).
        behind: tokens that the draft must be fed before it can propose.
        nodes: rows that a tree of each depth adds to the target run; empty for a chain, which adds its length.
        num_drafts: models that all take a step for each level (merged drafts).
        joint: what drafters share who take their steps together; None for a drafter by itself.
    """

    drafter: str
    survival: Sequence[float]
    is_free: bool = False
    behind: int = 0
    nodes: Sequence[int] = ()
    num_drafts: int = 1
    joint: object = None

    @property
    def steps(self) -> object:
        """Equal for sources that share their draft steps."""
        return self.drafter if self.joint is None else self.joint


@dataclass(slots=True, eq=False)  # not frozen: that would treble the cost of what every request gets at every plan
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

    A level of a tree costs as many rows as it has nodes and goes by what it brings a row. Since rows do not cost
    the same throughout, the best with trees is held against the best without any.

    Choices depend on committed tokens and earlier steps only, never on this step's proposals, so they
    leave the law unchanged.

    Args:
        costs: measured on this machine.
        longest: most tokens to propose for one request.
    """

    def __init__(self, costs: StepCosts, longest: int = MAX_DRAFT_TOKENS):
        self.costs, self.longest = costs, longest
        # More is never taken to cost less, whatever was measured.
        self._rows = [0.0, *accumulate((costs.target_run(rows) for rows in range(1, _TABLE)), max)]
        self._draft = [*accumulate((costs.draft_step(requests) for requests in range(_TABLE)), max)]
        self._pays: dict[tuple[int, float], bool] = {}

    @property
    def tables(self) -> tuple[Sequence[float], Sequence[float]]:
        """Costs of a target run by rows, and of a draft step by requests."""
        return self._rows, self._draft

    def choose(self, options: Sequence[Sequence[Source]], rows: int, emitting: int, cached: int = 0) -> list[Choice]:
        """A choice for each request.

        Args:
            options: the sources of each request; none at all is fine.
            rows: rows that this step's target run has anyway.
            emitting: requests that get a token from it anyway.
            cached: tokens in the cache that the run attends to, over all its requests.
        """
        extra = self.costs.attention(cached)
        plain = emitting / (self._target(rows) + extra)
        choices, rate = self._search(options, rows, emitting, extra, plain)
        if any(source.nodes for sources in options for source in sources):
            for wanted in (True, False):
                some = [[source for source in sources if bool(source.nodes) is wanted] for sources in options]
                others, their_rate = self._search(some, rows, emitting, extra, plain)
                if their_rate > rate:
                    choices, rate = others, their_rate
        return choices if rate > plain * LEAST_GAIN else [NOTHING] * len(options)

    def _search(
        self, options: Sequence[Sequence[Source]], rows: int, emitting: int, extra: float, price: float
    ) -> tuple[list[Choice], float]:
        """Choices that beat ``price``, and the rate that they reach; nothing and ``price`` itself where none do."""
        choices = [NOTHING] * len(options)
        sharing: dict[object, int] = {}
        for own in options:
            for source in own:
                sharing[source.steps] = sharing.get(source.steps, 0) + 1
        before: list[Source | None] = []
        for _ in range(3):
            sources = self._sources(options, sharing, rows, price)
            if not any(sources) or sources == before:  # the same would come out
                break
            before = sources
            found, rate = self._scan(sources, rows, emitting, extra, price)
            if rate <= price:
                break
            choices, price = found, rate
        return choices, price

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

    def _sources(
        self, options: Sequence[Sequence[Source]], sharing: Mapping[object, int], rows: int, price: float
    ) -> list[Source | None]:
        """The best source of each request at ``price``, None where none pays; ``sharing``: requests of each draft."""
        ahead = max(1, len(options))  # a token each: later rows may cost more, which the scan finds out
        row = price * (self._target(rows + ahead) - self._target(rows)) / ahead
        result: list[Source | None] = []
        for sources in options:
            best, most = None, 0.0
            for source in sources:
                share = sharing[source.steps]
                if source.nodes:
                    worth = self._tree_worth(source, row, price, share)
                else:
                    step = 0.0 if source.is_free else price * self._draft[min(share, _TABLE - 1)] / share
                    worth = _worth(source.survival, row + step)
                if source.behind > 1:
                    worth -= price * self._catching_up(source.behind)
                if worth > most:
                    best, most = source, worth
            result.append(best)
        return result

    def _catching_up(self, behind: int) -> float:
        """Cost of feeding what the draft missed, spread over the steps that profit from it."""
        return self._draft[min(behind, _TABLE - 1)] / CATCH_UP_STEPS

    def _tree_worth(self, source: Source, row: float, price: float, share: int) -> float:
        """What the best depth of a tree brings at ``row`` a row, beyond its part of the draft steps."""
        best = worth = 0.0
        for level, (chance, width) in enumerate(zip(source.survival, _widths(source), strict=True)):
            worth += chance - row * width - price * self._level(source, level, share) / share
            best = max(best, worth)
        return best

    def _level(self, source: Source, level: int, requests: int) -> float:
        """Cost of drafting one level of a tree, which asks for the logits of the nodes of the level before."""
        width = _widths(source)[level - 1] // source.num_drafts if level else 1
        return source.num_drafts * self._draft[min(requests * max(1, width), _TABLE - 1)]

    def _drafting(self, source: Source, requests: int, depth: int) -> float:
        """Cost of drafting trees so deep for so many requests."""
        return sum(self._level(source, level, requests) for level in range(depth))

    def _scan(
        self, sources: Sequence[Source | None], rows: int, emitting: int, extra: float, price: float
    ) -> tuple[list[Choice], float]:
        """Lengths for the given sources, and the rate that they reach."""
        tokens = [
            (-gain, index)
            for index, source in enumerate(sources)
            if source
            for gain in (_gains_a_row(source) if source.nodes else source.survival[: self.longest])
        ]
        tokens.sort()  # a request's own stay in order: its chances fall, and ties are equal
        lengths, table, base = [0] * len(sources), self._rows, extra
        drafting: dict[object, tuple[int, int]] = {}  # requests and deepest token of each draft
        expected, best, best_rate = float(emitting), 0, price
        left = 0.0  # of what may still be gained
        for source in sources:
            for chance in (source.survival if source.nodes else source.survival[: self.longest]) if source else ():
                left += chance
        for count, (_, index) in enumerate(tokens, start=1):
            source = sources[index]
            assert source is not None
            lengths[index] = length = lengths[index] + 1
            gain = source.survival[length - 1]
            expected, left = expected + gain, left - gain
            rows += _widths(source)[length - 1] if source.nodes else 1
            if not source.is_free:
                requests, depth = drafting.get(source.steps, (0, 0))
                more, deeper = requests + (length == 1), max(depth, length)
                if deeper > depth or more > requests:
                    if source.nodes:
                        base += self._drafting(source, more, deeper) - self._drafting(source, requests, depth)
                    else:
                        base += deeper * self._draft[more] - depth * self._draft[requests]
                    drafting[source.steps] = more, deeper
            cost = (table[rows] if rows < _TABLE else self._target(rows)) + base
            if expected > best_rate * cost:
                best_rate, best = expected / cost, count
            elif expected + left <= best_rate * cost:  # costs only rise
                tokens = tokens[:count]
                break
        for _, index in tokens[best:]:
            lengths[index] -= 1
        return [Choice(source, n) if n else NOTHING for source, n in zip(sources, lengths, strict=True)], best_rate


def _widths(source: Source) -> list[int]:
    """Nodes of each level of a tree."""
    return [deep - shallow for shallow, deep in pairwise((0, *source.nodes))]


def _gains_a_row(source: Source) -> list[float]:
    """What the levels of a tree bring a row; none more than the one above it, which must come first."""
    chances = zip(source.survival, _widths(source), strict=True)
    return list(accumulate((chance / width for chance, width in chances), min))


def _worth(survival: Sequence[float], cost: float) -> float:
    """What the best number of tokens brings, beyond ``cost`` each; chances only fall."""
    worth = 0.0
    for chance in survival:
        if chance <= cost:
            break
        worth += chance - cost
    return worth
