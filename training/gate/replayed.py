"""From replayed acceptances to a verdict: every contender is charged its own costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.costs import StepCosts
from training.gate.rule import GateRule
from training.gate.verdict import Verdict, judge
from training.replay import Acceptance, expected_costs


@dataclass(frozen=True, slots=True)
class Contender:
    """A draft before the gate: how each held-out answer fares under it, and what its steps cost."""

    acceptances: Sequence[Acceptance]
    costs: StepCosts

    def expected_costs(self, length: int) -> Tensor:
        """Of each answer with chains of ``length`` tokens, in target runs over one row, [requests]."""
        return expected_costs(self.acceptances, length, self.costs)[:, length - 1]


def judge_replays(
    champion: Contender,
    candidate: Contender,
    length: int,
    control: Contender | None = None,
    rule: GateRule | None = None,
) -> Verdict:
    """`training.gate.judge` over replayed costs of the same answers, in the order in which they were recorded.

    Args:
        length: tokens of a proposal, the same for all: a length picked on these answers would favour noise.
        control: the offline-distilled draft.

    Raises:
        ValueError: contenders were not replayed on the same answers.
    """
    contenders = [each for each in (champion, candidate, control) if each is not None]
    sizes = [torch.tensor([each.num_tokens for each in contender.acceptances]) for contender in contenders]
    if any(not torch.equal(sizes[0], other) for other in sizes[1:]):
        raise ValueError("champion, candidate and control must be replayed on the same answers")
    costs = [contender.expected_costs(length) for contender in contenders]
    return judge(costs[0], costs[1], sizes[0], costs[2] if control is not None else None, rule)
