"""Expected counts of a replayed answer for every proposal length, exact given the text.

With s tokens emitted, a proposal of k tokens ends after j of them with probability P(s, j) (1 - r(s + j)), where
P(s, j) = r(s) ... r(s + j - 1), or holds whole with P(s, k); the run then emits one token more. So the expected sum
of anything that a block adds, g, over the rest of the answer is

    f(s) = g(s) + sum_{j < k} P(s, j) (1 - r(s + j)) f(s + j + 1) + P(s, k) f(s + k + 1),  f(n) = 0,

(`learning.md`, section 5, where g = 1 counts target runs). Summed by parts, with D(i) = f(i + 1) - f(i), it is

    f(s) = g(s) + f(s + 1) + W(s),  W(s) = sum_{1 <= j <= k} P(s, j) D(s + j)
                                         = r(s) (D(s + 1) + W(s + 1)) - P(s, k + 1) D(s + k + 1),

which takes O(1) for each s and k, all answers and lengths side by side. In float64 whole numbers stay whole, so that
greedy counts are the live ones to the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from decoding.costs import StepCosts
from training.replay.acceptance import Acceptance


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers side by side, padded behind their ends.

    Attributes:
        values: chance of acceptance by token, 0 where nobody proposes, [answers, n].
        room: most tokens of a proposal after so many tokens, [answers, n].
        inside: whether the answer is that long, float64 [answers, n].
    """

    values: Tensor
    room: Tensor
    inside: Tensor

    @classmethod
    def of(cls, acceptances: Sequence[Acceptance]) -> "Batch":
        longest = max((each.num_tokens for each in acceptances), default=0)
        values = torch.zeros(len(acceptances), longest, dtype=torch.float64)
        room, inside = torch.zeros_like(values, dtype=torch.long), torch.zeros_like(values)
        for row, each in enumerate(acceptances):
            size = each.num_tokens
            values[row, each.first : size] = each.values[each.first :]
            room[row, each.first : size] = (each.max_tokens - 1 - torch.arange(each.first, size)).clamp(min=0)
            inside[row, :size] = 1
        return cls(values, room, inside)

    def lengths(self, proposed: Tensor) -> Tensor:
        """Tokens of each proposal where ``proposed`` [L] are wished for, [answers, n, L]."""
        return torch.minimum(proposed, self.room[..., None])

    def survival(self, depth: int) -> Tensor:
        """Chance that the next ``depth`` tokens are all accepted, [answers, n]."""
        product, size = torch.ones_like(self.values), self.values.size(1)
        padded = functional.pad(self.values, (0, depth))
        for ahead in range(depth):
            product *= padded[:, ahead : ahead + size]
        return product


def expected_runs(acceptances: Sequence[Acceptance], longest: int) -> Tensor:
    """Expected target runs of each answer with chains of 1 to ``longest`` tokens, float64 [answers, longest].

    Counts what `decoding.request.SpeculationCounts.num_target_runs` counts: forwards that emit tokens.
    """
    batch = Batch.of(acceptances)
    return expected(batch, _up_to(longest), batch.inside[..., None].expand(-1, -1, longest))


def expected_drafted(acceptances: Sequence[Acceptance], longest: int) -> Tensor:
    """Expected proposed tokens, float64 [answers, longest]; near ``max_tokens`` clipped as live proposals are."""
    batch, lengths = Batch.of(acceptances), _up_to(longest)
    return expected(batch, lengths, batch.lengths(lengths) * batch.inside[..., None])


def expected_costs(acceptances: Sequence[Acceptance], longest: int, costs: StepCosts) -> Tensor:
    """Expected cost in target runs over one row, float64 [answers, longest].

    Every run is charged w(rows) + c * drafted for the proposal that it verifies, which is runs * (w(k + 1) + k c)
    but for the prompt's own run (charged as a run over one row: reading the prompt costs the same under any draft)
    and for proposals clipped near ``max_tokens``.
    """
    batch, lengths = Batch.of(acceptances), _up_to(longest)
    price = [costs.target_run(size + 1) + size * costs.draft_step(1) for size in range(longest + 1)]
    worth = torch.tensor(price, dtype=torch.float64)[batch.lengths(lengths)] * batch.inside[..., None]
    return expected(batch, lengths, worth)


@dataclass(frozen=True, slots=True)
class PositionCounts:
    """Expected numbers over all answers, by position in the proposal, float64 [k] each."""

    reached: Tensor
    accepted: Tensor

    @property
    def acceptance(self) -> Tensor:
        """Chance of acceptance given that the position was reached; nan where none was."""
        return self.accepted / self.reached


def expected_by_position(acceptances: Sequence[Acceptance], length: int) -> PositionCounts:
    """What chains of ``length`` tokens come to, position by position.

    Proposed tokens behind a stop token are left out: the text does not say what would have become of them.
    """
    batch = Batch.of(acceptances)
    sizes = batch.lengths(torch.tensor([length]))[..., 0]
    left = batch.inside.flip(1).cumsum(1).flip(1)  # tokens from here to the answer's end
    survival = [batch.survival(depth) for depth in range(length + 1)]
    held = [(sizes > place) & (left > place) for place in range(length)]
    worth = [survival[place] * held[place] for place in range(length)]
    worth += [survival[place + 1] * held[place] for place in range(length)]
    counts = expected(batch, torch.full((2 * length,), length), torch.stack(worth, dim=-1)).sum(0)
    return PositionCounts(counts[:length], counts[length:])


def tokens_per_target_run(acceptances: Sequence[Acceptance], longest: int) -> Tensor:
    """Tokens over expected runs of all answers together, a ratio of sums, float64 [longest]."""
    num_tokens = sum(each.num_tokens for each in acceptances)
    return num_tokens / expected_runs(acceptances, longest).sum(0)


def mean_acceptance(acceptances: Sequence[Acceptance]) -> float:
    """Alpha: the mean over all tokens that a proposal may hold; nan without any."""
    return float(torch.cat([each.reachable for each in acceptances]).mean()) if acceptances else float("nan")


def best_length(acceptances: Sequence[Acceptance], longest: int, costs: StepCosts) -> int:
    """The proposal length, 1 to ``longest``, of least expected cost over all answers together."""
    return int(expected_costs(acceptances, longest, costs).sum(0).argmin()) + 1


def _up_to(longest: int) -> Tensor:
    return torch.arange(1, longest + 1)


def expected(batch: Batch, lengths: Tensor, worth: Tensor) -> Tensor:
    """f(0) for every answer and length.

    Clipping needs no care here: where the room ends a proposal, so does the answer soon after, and f(n) = f(n + 1).

    Args:
        lengths: [L], at least 1 each.
        worth: g(s) [answers, n, L], 0 behind an answer's end.
    """
    num_answers, size = batch.values.shape
    most, columns = int(lengths.max()), torch.arange(len(lengths))
    beyond = {length: batch.survival(length + 1) for length in set(lengths.tolist())}
    survival = torch.stack([beyond[length].T for length in lengths.tolist()], dim=-1)  # [n, answers, L]
    values, worth = batch.values.T.contiguous(), worth.transpose(0, 1).contiguous()  # a step reads memory in order
    steps = torch.zeros(size + most + 3, num_answers, len(lengths), dtype=torch.float64)  # D
    total, surplus = torch.zeros_like(steps[0]), torch.zeros_like(steps[0])  # f(s + 1), W(s + 1)
    for s in range(size - 1, -1, -1):
        behind = steps[s + lengths + 1, :, columns].T  # D(s + k + 1), [answers, L]
        surplus = values[s, :, None] * (steps[s + 1] + surplus) - survival[s] * behind
        now = worth[s] + total + surplus
        steps[s] = total - now
        total = now
    return total
