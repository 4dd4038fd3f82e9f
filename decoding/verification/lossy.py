"""Rules that change the law of the answer. They run only for requests that name one (`decoding.lossy`)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from decoding.lossy import Lenient, Lossy, Typical
from decoding.proposal import Proposal, Scheme
from decoding.randomness import Randomness
from decoding.verification.recursive import verify_recursive
from decoding.verification.result import VerificationResult


def verify_lossy(
    proposal: Proposal, target_probs: Tensor, randomness: Randomness, settings: Lossy
) -> VerificationResult:
    """The rule that ``settings`` asks for."""
    if isinstance(settings, Typical):
        return verify_typical(proposal, target_probs, randomness, settings)
    return verify_lenient(proposal, target_probs, randomness, settings)


def verify_typical(
    proposal: Proposal, target_probs: Tensor, randomness: Randomness, settings: Typical
) -> VerificationResult:
    """Keep the longest path of tokens that the target finds plausible, the most probable one of several.

    Args:
        proposal: any tree.
        target_probs: [1 + nodes, vocab_size].
    """
    if not len(proposal):
        return VerificationResult([], randomness.choose(target_probs[0]))
    rows = [parent + 1 for parent in proposal.parents]
    probs = target_probs[rows, proposal.token_ids].tolist()
    entropy = torch.special.entr(target_probs).sum(dim=-1)
    thresholds = (settings.delta * (-entropy).exp()).clamp(max=settings.epsilon)[rows].tolist()
    scores: list[tuple[int, float] | None] = []  # length and log-probability of the accepted path to each node
    best, best_score = -1, (0, 0.0)
    for node, parent in enumerate(proposal.parents):
        before = scores[parent] if parent >= 0 else (0, 0.0)
        if before is None or probs[node] <= thresholds[node]:
            scores.append(None)
            continue
        score = before[0] + 1, before[1] + math.log(probs[node])
        scores.append(score)
        if best < 0 or score > best_score:
            best, best_score = node, score
    path: list[int] = []
    while best >= 0:
        path.insert(0, best)
        best = proposal.parents[best]
    return VerificationResult(path, randomness.choose(target_probs[1 + path[-1] if path else 0]))


def verify_lenient(
    proposal: Proposal, target_probs: Tensor, randomness: Randomness, settings: Lenient
) -> VerificationResult:
    """The recursive rule against scaled-down draft laws: accept x with probability min(1, l * target(x) / draft(x)).

    A refusal leaves max(0, target - draft / l). Tokens that were not drawn count as drawn with certainty.

    Args:
        proposal: any tree.
        target_probs: [1 + nodes, vocab_size].
    """
    if proposal.scheme is Scheme.FIXED and len(proposal):
        token_ids = torch.tensor(proposal.token_ids, device=target_probs.device)
        certain = functional.one_hot(token_ids, target_probs.size(1)).to(target_probs.dtype)
        draws = [(node, node) for node in range(len(proposal))]
        proposal = Proposal(proposal.token_ids, proposal.parents, certain, Scheme.INDEPENDENT, draws)
    return verify_recursive(proposal, target_probs, randomness, settings.lenience)
