"""Rejection sampling, one candidate after the other: chains, and trees with several children a node."""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from decoding.proposal import Proposal, Scheme
from decoding.randomness import Randomness, choose_rows
from decoding.verification.result import VerificationResult
from decoding.verification.trials import Trial, trials_by_parent


def verify_rejection(proposal: Proposal, target_probs: Tensor, randomness: Randomness) -> VerificationResult:
    """Accept token x with probability min(1, target(x) / draft(x)); draw from the residual at the first refusal.

    Args:
        proposal: a chain whose tokens were drawn, row i of ``draft_probs`` being the law of node i.
        target_probs: [1 + nodes, vocab_size].
    """
    return verify_chains([proposal], [target_probs], [randomness])[0]


def verify_chains(
    proposals: Sequence[Proposal], target_probs: Sequence[Tensor], sources: Sequence[Randomness]
) -> list[VerificationResult]:
    """`verify_rejection` for several requests together, each with the decisions that it would take alone.

    All scalars leave the tensors in one call, and all last tokens are drawn in one.

    Args:
        proposals: drawn chains; an empty one has its token drawn from the target.
        target_probs: [1 + nodes, vocab_size] of each.
    """
    assert all(proposal.is_chain for proposal in proposals)
    ratios = iter(_ratios(proposals, target_probs))
    accepted: list[int] = []
    wanted: list[Tensor] = []  # what the target says where each path ends
    drawn_from: list[Tensor | None] = []  # the law of the refused token there
    for proposal, probs, source in zip(proposals, target_probs, sources, strict=True):
        chances = list(islice(ratios, len(proposal)))
        count = next((node for node, ratio in enumerate(chances) if not source.accept(ratio)), len(proposal))
        accepted.append(count)
        wanted.append(probs[count])
        draft_probs = proposal.draft_probs
        drawn_from.append(None if draft_probs is None or count == len(proposal) else draft_probs[count])
    weights = torch.stack(wanted)
    if any(law is not None for law in drawn_from):
        nothing = torch.zeros_like(wanted[0])
        refused = torch.stack([nothing if law is None else law for law in drawn_from])
        weights = recovered_weights(weights, refused)
    last = choose_rows(weights, sources)
    return [VerificationResult(list(range(count)), token_id) for count, token_id in zip(accepted, last, strict=True)]


def verify_recursive(
    proposal: Proposal, target_probs: Tensor, randomness: Randomness, lenience: float = 1.0
) -> VerificationResult:
    """Try the children of a node in draw order, each by rejection against what the ones before it left over.

    After a refusal the target's law becomes the residual, normalised; a law that is drawn without replacement
    loses the refused token. Draft laws may differ from child to child, so trees of several drafts are exact too.

    Source: multi-step speculative sampling, SpecInfer (Miao et al. 2023, alg. 2); without replacement, MCSD
    (Yang et al. 2024, alg. 1).

    Args:
        proposal: a tree whose tokens were drawn, by any scheme.
        target_probs: [1 + nodes, vocab_size].
        lenience: draft laws are divided by it; anything but 1 is lossy (`decoding.lossy.Lenient`).
    """
    trials = trials_by_parent(proposal, target_probs)
    path: list[int] = []
    while here := trials.get(path[-1] if path else -1):
        child, law = _try_all(proposal, here, target_probs[1 + path[-1] if path else 0], randomness, lenience)
        if child is None:
            return VerificationResult(path, randomness.choose(law))
        path.append(child)
    return VerificationResult(path, randomness.choose(target_probs[1 + path[-1] if path else 0]))


def _try_all(
    proposal: Proposal, trials: list[Trial], law: Tensor, randomness: Randomness, lenience: float
) -> tuple[int | None, Tensor]:
    """The accepted child of one node, or None; and what is left of the target's ``law`` [vocab_size] then."""
    assert proposal.draft_probs is not None
    seen: dict[int, Tensor] = {}  # laws without the tokens that were drawn from them
    for index, trial in enumerate(trials):
        draft_law = seen.get(trial.law, proposal.draft_probs[trial.law])
        target_prob = trial.target_prob if index == 0 else float(law[trial.token_id])
        draft_prob = trial.draft_prob if trial.law not in seen else float(draft_law[trial.token_id])
        if randomness.accept(lenience * target_prob / draft_prob):
            return trial.node, law
        residual = recovered_weights(law, draft_law / lenience)
        law = residual / residual.sum()
        if proposal.scheme is Scheme.WITHOUT_REPLACEMENT and index + 1 < len(trials):
            seen[trial.law] = without(draft_law, trial.token_id)
    return None, law


def recovered_weights(target_probs: Tensor, draft_probs: Tensor) -> Tensor:
    """max(0, target - draft) [..., vocab_size], unnormalised.

    All zero only when both are equal up to rounding; a refusal is then itself a rounding accident, and
    the target's own distribution is the right one to draw from.
    """
    residual = (target_probs - draft_probs).clamp_(min=0)
    left = residual.sum(dim=-1, keepdim=True)
    return residual if left.all() else torch.where(left > 0, residual, target_probs)


def _ratios(proposals: Sequence[Proposal], target_probs: Sequence[Tensor]) -> list[float]:
    """Target's over draft's probability of every token of all chains."""
    target_at: list[Tensor] = []
    draft_at: list[Tensor] = []
    for proposal, probs in zip(proposals, target_probs, strict=True):
        if proposal.draft_probs is not None:
            target_at.append(_read(probs, proposal.token_ids))
            draft_at.append(_read(proposal.draft_probs, proposal.token_ids))
    if not target_at:
        return []
    ratios: list[float] = (torch.cat(target_at).double() / torch.cat(draft_at).double()).tolist()
    return ratios


def _read(probs: Tensor, token_ids: Sequence[int]) -> Tensor:
    """The probability of ``token_ids[i]`` in row i."""
    size = probs.size(-1)
    places = [row * size + token_id for row, token_id in enumerate(token_ids)]
    return probs.take(torch.tensor(places, device=probs.device))


def without(law: Tensor, token_id: int) -> Tensor:
    """``law`` [vocab_size] given that the token is not ``token_id``; all zero if it could be no other."""
    rest = law.clone()
    rest[token_id] = 0
    total = float(rest.sum())
    return rest / total if total else rest
