"""Rejection sampling, one candidate after the other: chains, and trees with several children a node."""

from torch import Tensor

from decoding.proposal import Proposal, Scheme
from decoding.randomness import Randomness
from decoding.verification.result import VerificationResult
from decoding.verification.trials import Trial, trials_by_parent


def verify_rejection(proposal: Proposal, target_probs: Tensor, randomness: Randomness) -> VerificationResult:
    """Accept token x with probability min(1, target(x) / draft(x)); draw from the residual at the first refusal.

    Args:
        proposal: a chain whose tokens were drawn, row i of ``draft_probs`` being the law of node i.
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
    """max(0, target - draft) [vocab_size], unnormalised.

    All zero only when both are equal up to rounding; a refusal is then itself a rounding accident, and
    the target's own distribution is the right one to draw from.
    """
    residual = (target_probs - draft_probs).clamp(min=0)
    return residual if residual.any() else target_probs


def without(law: Tensor, token_id: int) -> Tensor:
    """``law`` [vocab_size] given that the token is not ``token_id``; all zero if it could be no other."""
    rest = law.clone()
    rest[token_id] = 0
    total = float(rest.sum())
    return rest / total if total else rest
