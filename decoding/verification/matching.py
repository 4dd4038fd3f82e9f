"""Rules that need no draft law: the target speaks, the tree is followed for as long as it said the same."""

from collections.abc import Callable, Sequence

from torch import Tensor

from decoding.proposal import Proposal
from decoding.randomness import Randomness
from decoding.verification.result import VerificationResult


def verify_greedy(proposal: Proposal, best: Sequence[int]) -> VerificationResult:
    """Walk down while a child carries the target's most probable token.

    Args:
        proposal: any tree.
        best: 1 + nodes argmax token ids of the target.
    """
    path: list[int] = []
    node, token_id = -1, best[0]
    for child, guess in enumerate(proposal.token_ids):  # children follow their parents, so one pass sees them all
        if guess == token_id and proposal.parents[child] == node:
            path.append(child)
            node, token_id = child, best[child + 1]
    return VerificationResult(path, token_id)


def verify_match(proposal: Proposal, target_probs: Tensor, randomness: Randomness) -> VerificationResult:
    """Draw each token from the target; descend while the draw is among the children.

    Exact for any proposal that does not depend on the draws, since every emitted token is one. A set S of
    children is left with probability 1 - sum of target(x) over S.

    Args:
        target_probs: [1 + nodes, vocab_size].
    """
    return _walk(proposal, lambda row: randomness.choose(target_probs[row]))


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
