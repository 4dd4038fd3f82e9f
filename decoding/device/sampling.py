"""`decoding.sampling` and `decoding.randomness` without a branch on what is in a tensor: nothing here waits for it.

Settings are tensors beside the rows, so that one recorded sequence of kernels serves every request.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoding.request import SamplingParams


def settings_of(params: Sequence[SamplingParams], vocab_size: int) -> list[list[float]]:
    """[4, rows] numbers for `laws_of`: temperature (0 is greedy), min-p, top-k and top-p of each row."""
    return [
        [0.0 if each.is_greedy else each.temperature for each in params],
        [each.min_p for each in params],
        [each.top_k if 0 < each.top_k < vocab_size else vocab_size for each in params],
        [each.top_p for each in params],
    ]


def cuts(params: Sequence[SamplingParams]) -> bool:
    """Whether any row asks for min-p, top-k or top-p."""
    return any(not each.is_greedy and (each.min_p or each.top_k or each.top_p < 1) for each in params)


def laws_of(logits: Tensor, settings: Tensor, has_cuts: bool) -> Tensor:
    """The law of every row; a greedy row's is certain of its most probable token.

    Args:
        logits: [rows, vocab_size].
        settings: [4, rows], see `settings_of`.
        has_cuts: whether any row may ask for one.

    Returns:
        [rows, vocab_size], each row summing to 1.
    """
    temperature, min_p, top_k, top_p = settings.to(logits.dtype)[:, :, None]
    scaled = logits / torch.where(temperature > 0, temperature, 1.0)
    probs = _cut(scaled, min_p, top_k, top_p) if has_cuts else scaled.softmax(dim=-1)
    return torch.where(temperature > 0, probs, one_hot(logits.argmax(dim=-1), probs))


def choose(weights: Tensor, uniforms: Tensor) -> Tensor:
    """An index a row [rows], with probability proportional to its weight; see `decoding.randomness.choose_rows`.

    Args:
        weights: [rows, n], no row all zero.
        uniforms: [rows] in [0, 1), float64.
    """
    cumulative = weights.cumsum(dim=-1, dtype=torch.float64)
    points = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, points, right=True)[:, 0].clamp(max=weights.size(-1) - 1)


def one_hot(token_ids: Tensor, like: Tensor) -> Tensor:
    """Laws [..., vocab_size] that are certain of ``token_ids`` [...]."""
    return torch.zeros_like(like).scatter_(-1, token_ids[..., None], 1.0)


def _cut(scaled: Tensor, min_p: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """As `decoding.sampling.probabilities`: min-p, top-k, softmax, top-p; ties stay together."""
    scaled = scaled.masked_fill(scaled < scaled.amax(dim=-1, keepdim=True) + min_p.log(), -torch.inf)
    ordered = scaled.sort(dim=-1, descending=True).values
    scaled = scaled.masked_fill(scaled < ordered.gather(-1, top_k.long() - 1), -torch.inf)
    probs = scaled.softmax(dim=-1)
    ordered = probs.sort(dim=-1, descending=True).values
    kept = (ordered.cumsum(dim=-1) - ordered < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
    nucleus = probs.masked_fill(probs < ordered.gather(-1, kept - 1), 0.0)
    return torch.where(top_p < 1, nucleus / nucleus.sum(dim=-1, keepdim=True), probs)
