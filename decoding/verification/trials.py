"""The draws of a sampled proposal, as verification meets them: trials, parent by parent, in draw order."""

from typing import NamedTuple

from torch import Tensor

from decoding.proposal import Proposal


class Trial(NamedTuple):
    """One drawn token under test, with its probability by the target and by the law that it was drawn from."""

    node: int
    token_id: int
    law: int  # row of the proposal's draft_probs
    target_prob: float
    draft_prob: float


def trials_by_parent(proposal: Proposal, target_probs: Tensor) -> dict[int, list[Trial]]:
    """Trials of every node that has children, in draw order; all scalars of the tree are read in two calls.

    Args:
        target_probs: [1 + nodes, vocab_size].
    """
    assert proposal.draft_probs is not None
    tokens = [proposal.token_ids[node] for node, _ in proposal.draws]
    rows = [proposal.parents[node] + 1 for node, _ in proposal.draws]
    target_at = target_probs[rows, tokens].tolist()
    draft_at = proposal.draft_probs[[law for _, law in proposal.draws], tokens].tolist()
    trials: dict[int, list[Trial]] = {}
    for (node, law), token_id, row, target_prob, draft_prob in zip(
        proposal.draws, tokens, rows, target_at, draft_at, strict=True
    ):
        trials.setdefault(row - 1, []).append(Trial(node, token_id, law, target_prob, draft_prob))
    return trials
