"""Simulated promotions: how often the gate promotes noise, and how fast it sees a better draft.

Requests differ: the logit of their acceptance has a standard deviation of 0.6, their answers 30 to 200 tokens. Each
token's fate is drawn, champion and candidate apart, and replayed with chains of 4: the noisiest case, since at
temperature 0 a replay knows no chances between 0 and 1, and drafts of one family agree more often than by chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.costs import StepCosts
from training.gate.rule import GateRule, counts
from training.gate.sequences import betting_wealth, confidence_sequence
from training.gate.verdict import decide
from training.replay.recursion import Batch, expected

LENGTH = 4
COSTS = StepCosts(target={1: 1.0, 2: 1.01}, draft={1: 0.05})
BASE_ALPHA, SPREAD, TOKENS = 0.75, 0.6, (30, 200)
NEVER = 1 << 30  # requests to a promotion that did not come
_Z = 1.6448536269514722  # one-sided 5 %
_FIXED_SIZE, _PEEK_EVERY = 400, 20  # of the token test
_AT_ONCE = 10  # promotions simulated side by side


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is true of the simulated candidates.

    Attributes:
        gain: added to the candidate's acceptance of every request.
        disagreement: standard deviation of the difference of the two logits of a request: each draft has requests
            that it is better at.
        is_copy: the candidate is the champion.
    """

    name: str
    gain: float = 0.0
    disagreement: float = 0.0
    is_copy: bool = False


SCENARIOS = (
    Scenario("identity copy", is_copy=True),
    Scenario("no difference"),
    Scenario("no difference, drafts disagree", disagreement=0.3),
    Scenario("alpha +.01", gain=0.01),
    Scenario("alpha +.02", gain=0.02),
    Scenario("alpha +.02, drafts disagree", gain=0.02, disagreement=0.3),
)


@dataclass(frozen=True, slots=True)
class Simulated:
    """After how many requests each method promoted, by promotion; NEVER where it did not."""

    scenario: Scenario
    promoted_at: dict[str, Tensor]

    def share(self, method: str) -> float:
        """Of promotions, by whatever number of requests."""
        return float((self.promoted_at[method] < NEVER).double().mean())

    def median(self, method: str) -> int | None:
        """Requests to promotion in the median; None where fewer than half are promoted."""
        found = int(self.promoted_at[method].median())
        return None if found == NEVER else found


def simulate(scenario: Scenario, promotions: int, rule: GateRule, seed: int = 0) -> Simulated:
    """Let ``promotions`` candidates come before the gate, its betting twin and the token test."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(_AT_ONCE, promotions - start) for start in range(0, promotions, _AT_ONCE)]
    parts = [_promote(scenario, size, rule, generator) for size in sizes]
    return Simulated(scenario, {method: torch.cat([part[method] for part in parts]) for method in parts[0]})


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z = 1.959963984540054
    share, scale = successes / trials, 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def draw_costs(
    scenario: Scenario, promotions: int, requests: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Replayed costs of champion and candidate, their accepted tokens, and tokens, each [promotions, requests]."""
    shape = (promotions, requests)
    low, high = TOKENS
    num_tokens = torch.randint(low, high + 1, shape, generator=generator)
    difficulty = _logit(BASE_ALPHA) + SPREAD * torch.randn(shape, generator=generator, dtype=torch.float64)
    champion, champion_accepted = _replayed(difficulty.sigmoid(), num_tokens, generator)
    if scenario.is_copy:
        return champion, champion, champion_accepted, champion_accepted, num_tokens
    other = difficulty + scenario.disagreement * torch.randn(shape, generator=generator, dtype=torch.float64)
    # A disagreement alone would move the mean of a sigmoid: what is true is a gain in alpha, so it is set to that.
    shift = difficulty.sigmoid().mean() - other.sigmoid().mean()
    chances = (other.sigmoid() + shift + scenario.gain).clamp(0, 1)
    candidate, candidate_accepted = _replayed(chances, num_tokens, generator)
    return champion, candidate, champion_accepted, candidate_accepted, num_tokens


def _promote(scenario: Scenario, promotions: int, rule: GateRule, generator: torch.Generator) -> dict[str, Tensor]:
    drawn = draw_costs(scenario, promotions, rule.most_requests, generator)
    champion, candidate, num_tokens = drawn[0] / drawn[4], drawn[1] / drawn[4], drawn[4]
    delta = rule.delta(champion)
    decisions = decide(confidence_sequence(champion - candidate, rule), delta, rule)
    by_gate, refused = _first(decisions.promote), _first(decisions.refuse)
    wealth = betting_wealth(champion - candidate - delta)
    z = _token_test(drawn[2], drawn[3], num_tokens)
    return {
        "gate": torch.where(by_gate < refused, by_gate, NEVER),
        "betting": _first(wealth >= 1 / rule.alpha),
        "token test": torch.where(z[:, -1] > _Z, z.size(1), NEVER),
        "token test, peeking": _first((z > _Z) & (counts(z) % _PEEK_EVERY == 0)),
    }


def _replayed(chances: Tensor, num_tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Costs and accepted tokens of answers whose tokens are accepted with ``chances``, [promotions, requests] each."""
    longest = TOKENS[1]
    places = torch.arange(longest)
    inside = (places < num_tokens.flatten()[:, None]).double()
    fates = torch.rand(inside.shape, generator=generator) < chances.flatten()[:, None]
    values = fates * inside
    values[:, 0] = 0  # the run that reads the prompt has no proposal
    room = torch.where(places == 0, 0, num_tokens.flatten()[:, None] - 1 - places).clamp(min=0)
    batch, lengths = Batch(values, room, inside), torch.tensor([LENGTH])
    price = torch.tensor([COSTS.target_run(size + 1) + size * COSTS.draft_step(1) for size in range(LENGTH + 1)])
    costs = expected(batch, lengths, price.double()[batch.lengths(lengths)] * inside[..., None])[:, 0]
    return costs.view_as(chances), values.sum(-1).view_as(chances)


def _token_test(champion: Tensor, candidate: Tensor, num_tokens: Tensor) -> Tensor:
    """z of accepted tokens pooled over requests, after each of 400 requests to each draft.

    Tokens are taken for independent, and, as in a canary, champion and candidate answer different requests.
    """
    first, second = slice(0, _FIXED_SIZE), slice(_FIXED_SIZE, 2 * _FIXED_SIZE)
    before, after = champion[:, first].cumsum(-1), candidate[:, second].cumsum(-1)
    tokens_before, tokens_after = num_tokens[:, first].cumsum(-1), num_tokens[:, second].cumsum(-1)
    pooled = (before + after) / (tokens_before + tokens_after)
    error = (pooled * (1 - pooled) * (1 / tokens_before + 1 / tokens_after)).sqrt()
    return (after / tokens_after - before / tokens_before) / error


def _first(hits: Tensor) -> Tensor:
    """Number of requests at the first hit of each row, NEVER without one."""
    return torch.where(hits.any(-1), hits.int().argmax(-1) + 1, NEVER)


def _logit(chance: float) -> float:
    return math.log(chance / (1 - chance))


def promoted_within(requests: Tensor, at: Sequence[int]) -> list[float]:
    """The share of promotions that came within each of ``at`` requests."""
    return [float((requests <= most).double().mean()) for most in at]
