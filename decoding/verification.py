"""Verification rules: which proposed tokens stay, and which token of the target follows them.

Exact rules only (table by proposal):

==================  =======================================  ==============================
rule                legal when                               source
==================  =======================================  ==============================
`verify_greedy`     temperature 0, any tree                  argmax walk
`verify_rejection`  a chain, each token sampled from its     Leviathan et al. 2023, alg. 1;
                    ``draft_probs``                          Chen et al. 2023, alg. 2
`verify_match`      any tree chosen without looking at the   "naive sampling", SpecInfer
                    target's randomness                      (Miao et al. 2023)
==================  =======================================  ==============================

In every rule row 0 of the target belongs to the last committed token and row 1 + i to node i.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from decoding.proposal import Proposal
from decoding.randomness import Randomness


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """Accepted nodes, from the root down, and the target's own token after them.

    The token is a bonus if the path ends at a leaf, recovered after a rejection otherwise.
    """

    path: list[int]
    token_id: int


def verify_greedy(proposal: Proposal, best: Sequence[int]) -> VerificationResult:
    """Walk down while a child carries the target's most probable token.

    Args:
        proposal: any tree.
        best: 1 + nodes argmax token ids of the target.
    """
    return _walk(proposal, lambda row: best[row])


def verify_match(proposal: Proposal, target_probs: Tensor, randomness: Randomness) -> VerificationResult:
    """Draw each token from the target; descend while the draw is among the children.

    Exact for any proposal that does not depend on the draws, since every emitted token is one.

    Args:
        target_probs: [1 + nodes, vocab_size].
    """
    return _walk(proposal, lambda row: randomness.choose(target_probs[row]))


def verify_rejection(proposal: Proposal, target_probs: Tensor, randomness: Randomness) -> VerificationResult:
    """Accept token x with probability min(1, target(x) / draft(x)); draw from the residual at the first refusal.

    Args:
        proposal: a chain with ``draft_probs``.
        target_probs: [1 + nodes, vocab_size].
    """
    assert proposal.is_chain
    assert proposal.draft_probs is not None
    nodes = range(len(proposal))
    target_at = target_probs[nodes, proposal.token_ids].tolist()
    draft_at = proposal.draft_probs[nodes, proposal.token_ids].tolist()
    for node in nodes:
        if not randomness.accept(target_at[node] / draft_at[node]):
            residual = recovered_weights(target_probs[node], proposal.draft_probs[node])
            return VerificationResult(list(range(node)), randomness.choose(residual))
    return VerificationResult(list(nodes), randomness.choose(target_probs[len(proposal)]))


def recovered_weights(target_probs: Tensor, draft_probs: Tensor) -> Tensor:
    """max(0, target - draft) [vocab_size], unnormalised.

    All zero only when both are equal up to rounding; a refusal is then itself a rounding accident, and
    the target's own distribution is the right one to draw from.
    """
    residual = (target_probs - draft_probs).clamp(min=0)
    return residual if residual.any() else target_probs


def _walk(proposal: Proposal, draw: Callable[[int], int]) -> VerificationResult:
    path: list[int] = []
    node = -1
    while True:
        token_id = draw(node + 1)
        child = _child(proposal, node, token_id)
        if child is None:
            return VerificationResult(path, token_id)
        path.append(child)
        node = child


def _child(proposal: Proposal, node: int, token_id: int) -> int | None:
    for child in range(node + 1, len(proposal)):
        if proposal.parents[child] == node and proposal.token_ids[child] == token_id:
            return child
    return None
