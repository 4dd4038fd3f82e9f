"""K-SEQ: the best of several independent candidates by one shared threshold (SpecTr, Sun et al. 2023, alg. 2)."""

from typing import TypeVar

import torch
from torch import Tensor

from decoding.proposal import Proposal, Scheme
from decoding.randomness import Randomness
from decoding.verification.result import VerificationResult
from decoding.verification.trials import Trial, trials_by_parent

Number = TypeVar("Number", float, Tensor)

_HALVINGS = 60


def verify_kseq(proposal: Proposal, target_probs: Tensor, randomness: Randomness) -> VerificationResult:
    """At each node accept the first candidate x with probability min(1, target(x) / (rho * draft(x))).

    The candidates of a node are the next tokens of the paths that are still alive there, in draw order and each
    as often as it was drawn; their number, not that of all paths, decides rho. The acceptance of a node is at least
    1 - (1 - 1/k)^k of what any rule could reach with k candidates.

    Args:
        proposal: paths drawn independently from one draft, merged where they agree.
        target_probs: [1 + nodes, vocab_size].
    """
    assert proposal.scheme is Scheme.PATHS
    assert proposal.draft_probs is not None
    trials = trials_by_parent(proposal, target_probs)
    path: list[int] = []
    while here := trials.get(path[-1] if path else -1):
        assert len({trial.law for trial in here}) == 1, "candidates of one node share one law"
        law, draft_law = target_probs[1 + path[-1] if path else 0], proposal.draft_probs[here[0].law]
        rho = division_factor(law, draft_law, len(here))
        child = _first_accepted(here, rho, randomness)
        if child is None:
            return VerificationResult(path, randomness.choose(residual_weights(law, draft_law, len(here), rho)))
        path.append(child)
    return VerificationResult(path, randomness.choose(target_probs[1 + path[-1] if path else 0]))


def division_factor(target_probs: Tensor, draft_probs: Tensor, num_candidates: int) -> float:
    """The smallest rho in [1, k] that keeps the rule exact: 1 - (1 - beta)^k = rho * beta.

    beta(rho) = sum min(draft, target / rho) is the chance that one candidate is accepted. Between two values of
    target / draft it is A + B / rho, so the root is first placed between two of them, all at once, then found by
    halving without touching a tensor.

    Args:
        target_probs, draft_probs: [vocab_size].
    """
    if num_candidates == 1:
        return 1.0
    drawable = draft_probs > 0
    target, draft = target_probs[drawable].double(), draft_probs[drawable].double()
    ratios, order = (target / draft).sort()
    below = torch.cat([target.new_zeros(1), target[order].cumsum(0)])  # target mass of the first i tokens
    above = 1 - torch.cat([draft.new_zeros(1), draft[order].cumsum(0)])  # draft mass of all but them
    inner = (ratios > 1) & (ratios < num_candidates)
    knots = torch.cat([ratios.new_ones(1), ratios[inner], ratios.new_full((1,), num_candidates)])
    place = torch.searchsorted(ratios, knots)
    beta = (above[place] + below[place] / knots).clamp(0, 1)
    last = int((_excess(beta, knots, num_candidates) >= 0).sum().clamp(1, len(knots) - 1)) - 1
    low, high = knots[last].item(), knots[last + 1].item()
    between = int(torch.searchsorted(ratios, knots[last], right=True))
    constant, slope = above[between].item(), below[between].item()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _excess(min(1.0, constant + slope / middle), middle, num_candidates) > 0:
            low = middle
        else:
            high = middle
    return high


def residual_weights(target_probs: Tensor, draft_probs: Tensor, num_candidates: int, rho: float) -> Tensor:
    """What to draw from when no candidate was accepted, unnormalised [vocab_size]: target - P(accepted as x).

    As in `recovered_weights`, the target itself where rounding leaves nothing.
    """
    accepted = torch.minimum(draft_probs, target_probs / rho)
    beta = min(1.0, float(accepted.sum()))
    at_least_one = 1 - (1 - beta) ** num_candidates
    residual = (target_probs - accepted * (at_least_one / beta if beta else 0.0)).clamp(min=0)
    return residual if residual.any() else target_probs


def _first_accepted(trials: list[Trial], rho: float, randomness: Randomness) -> int | None:
    for trial in trials:
        if randomness.accept(trial.target_prob / (rho * trial.draft_prob)):
            return trial.node
    return None


def _excess(beta: Number, rho: Number, num_candidates: int) -> Number:
    return 1 - (1 - beta) ** num_candidates - rho * beta
