"""Verification of chains where the logits are, all requests together; what happened comes back in one tensor.

The rule is `decoding.verification.verify_rejection` for every chain: a token that was not drawn counts as drawn with
certainty, and what a greedy request wants as a law that is certain of one token. For greedy requests that is
`verify_greedy`, and for copied text it is exact as `verify_match` is.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from decoding.device.sampling import choose, laws_of, one_hot


class Chains(NamedTuple):
    """Proposals of all requests, padded to one length K of 1 or more.

    Attributes:
        rows: [requests, K + 1], where each request's logits are; the last one repeats.
        token_ids: [requests, K].
        lengths: [requests], tokens that were proposed.
    """

    rows: Tensor
    token_ids: Tensor
    lengths: Tensor


def verify_greedily(logits: Tensor, chains: Chains) -> Tensor:
    """The longest beginning that the target would have said, and the token that it says next.

    Args:
        logits: [rows, vocab_size].

    Returns:
        [requests, K + 2]: how many tokens were accepted, these, the target's own after them; the rest means nothing.
    """
    best = logits.argmax(dim=-1)[chains.rows]
    accepted = _leading(best[:, :-1] == chains.token_ids, chains.lengths)
    return _packed(accepted, chains.token_ids, best.gather(1, accepted[:, None]))


def verify_sampled(
    logits: Tensor,
    chains: Chains,
    draft_laws: Tensor,
    law_at: Tensor,
    settings: Tensor,
    uniforms: Tensor,
    has_cuts: bool,
) -> Tensor:
    """Accept token x with probability min(1, target(x) / draft(x)); draw from the residual at the first refusal.

    Args:
        draft_laws: [laws, vocab_size], what tokens were drawn from.
        law_at: [requests, K], each token's row of them, -1 where it was not drawn.
        settings: [4, requests], see `decoding.device.sampling.settings_of`.
        uniforms: [requests, K + 1] in [0, 1), float64, none of them used for anything else.
        has_cuts: whether any request may ask for a cut.

    Returns:
        As `verify_greedily`.
    """
    requests, most = chains.token_ids.shape
    every = settings.repeat_interleave(most + 1, dim=1)
    wanted = laws_of(logits[chains.rows.flatten()], every, has_cuts).view(requests, most + 1, -1)
    by_target = wanted[:, :-1].gather(-1, chains.token_ids[..., None])[..., 0].double()
    by_draft = torch.where(law_at < 0, 1.0, draft_laws[law_at.clamp(min=0), chains.token_ids].double())
    accepted = _leading(uniforms[:, :-1] < by_target / by_draft, chains.lengths)
    index = torch.arange(requests, device=logits.device)
    here = wanted[index, accepted]
    at = accepted.clamp(max=most - 1)
    law = law_at[index, at]
    certain = one_hot(chains.token_ids[index, at], here)
    drawn_from = torch.where((law < 0)[:, None], certain, draft_laws[law.clamp(min=0)])
    last = choose(recovered_weights(here, drawn_from, accepted < chains.lengths), uniforms[:, -1])
    return _packed(accepted, chains.token_ids, last[:, None])


def recovered_weights(target_probs: Tensor, draft_probs: Tensor, was_refused: Tensor) -> Tensor:
    """`decoding.verification.recursive.recovered_weights` where a token was refused, elsewhere the target's own law.

    Args:
        target_probs, draft_probs: [requests, vocab_size].
        was_refused: bool [requests].
    """
    residual = (target_probs - draft_probs).clamp(min=0)
    # Nothing is left only where both laws are equal up to rounding: then the target's own is the right one.
    is_residual = was_refused[:, None] & (residual.sum(dim=-1, keepdim=True) > 0)
    return torch.where(is_residual, residual, target_probs)


def _leading(good: Tensor, lengths: Tensor) -> Tensor:
    """How many of the first ``lengths`` [requests] of ``good`` [requests, K] are all true, [requests]."""
    within = torch.arange(good.size(1), device=good.device) < lengths[:, None]
    return (good & within).long().cumprod(dim=1).sum(dim=1)


def _packed(accepted: Tensor, token_ids: Tensor, last: Tensor) -> Tensor:
    tokens = torch.cat([token_ids, last], dim=1).scatter(1, accepted[:, None], last)
    return torch.cat([accepted[:, None], tokens], dim=1)
