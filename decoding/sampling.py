"""From logits to the distribution that a token is drawn from; the same for target and draft."""

import torch
from torch import Tensor

from decoding.request import SamplingParams


def probabilities(logits: Tensor, params: SamplingParams) -> Tensor:
    """Distributions after temperature, top-k and top-p, in this order, as transformers applies them.

    Args:
        logits: [rows, vocab_size].
        params: a temperature above 0; greedy decoding has no use for probabilities.

    Returns:
        [rows, vocab_size], each row summing to 1. Ties at the k-th place are all kept.
    """
    assert not params.is_greedy
    scaled = logits / params.temperature
    if 0 < params.top_k < scaled.size(-1):
        smallest_kept = scaled.topk(params.top_k, dim=-1).values[..., -1:]
        scaled = scaled.masked_fill(scaled < smallest_kept, -torch.inf)
    probs = scaled.softmax(dim=-1)
    return _nucleus(probs, params.top_p) if params.top_p < 1 else probs


def _nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Keep the fewest most probable tokens whose mass reaches ``top_p``, renormalised."""
    ordered, index = probs.sort(dim=-1, descending=True, stable=True)
    mass_before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.masked_fill(mass_before >= top_p, 0.0)
    return torch.zeros_like(probs).scatter(-1, index, kept / kept.sum(dim=-1, keepdim=True))
