"""From logits to the distributions that tokens are drawn from; the same for target and draft.

Temperature, min-p, top-k, top-p, in this order, which is vLLM's (``vllm/v1/sample/sampler.py``, steps 7b to 7d).
What comes before, bias and penalties, is in `decoding.processors`. Each of the three cuts keeps the tokens above
some value, ties included, so a law never depends on the order in which equals are met.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from decoding.request import SamplingParams

_NUCLEUS = 64  # most probable tokens that hold nearly every nucleus; a wider one costs a sort of the vocabulary


def argmax(logits: Tensor) -> list[int]:
    """The most probable token of each row of ``logits`` [rows, vocab_size]; the first of equals."""
    best: list[int] = logits.argmax(dim=-1).tolist()
    return best


def probabilities(logits: Tensor, params: SamplingParams | Sequence[SamplingParams]) -> Tensor:
    """Distributions after temperature, min-p, top-k and top-p.

    A row's bits depend on the row and its own settings, never on the rows beside it.

    Args:
        logits: [rows, vocab_size].
        params: of every row, or of all rows; temperatures above 0, for greedy decoding has no use for probabilities.

    Returns:
        [rows, vocab_size], each row summing to 1.
    """
    rows = [params] * len(logits) if isinstance(params, SamplingParams) else params
    assert not any(row.is_greedy for row in rows)
    scaled = logits / _column([row.temperature for row in rows], logits)
    scaled = _where(scaled, [row.min_p or None for row in rows], _min_p)
    scaled = _where(scaled, [row.top_k if 0 < row.top_k < logits.size(-1) else None for row in rows], _top_k)
    return _where(scaled.softmax(dim=-1), [row.top_p if row.top_p < 1 else None for row in rows], _nucleus)


def _where(values: Tensor, settings: Sequence[float | None], cut: Callable[[Tensor, list[float]], Tensor]) -> Tensor:
    """``values`` [rows, vocab_size] with ``cut`` applied to the rows that have a setting."""
    rows = [row for row, setting in enumerate(settings) if setting is not None]
    chosen = [setting for setting in settings if setting is not None]
    if not rows:
        return values
    if len(rows) == len(settings):
        return cut(values, chosen)
    index = torch.tensor(rows, device=values.device)
    return values.index_copy(0, index, cut(values[index], chosen))


def _min_p(scaled: Tensor, least: list[float]) -> Tensor:
    """Without the tokens less probable than ``least`` times the most probable one."""
    border = scaled.amax(dim=-1, keepdim=True) + _column(least, scaled).log()
    return scaled.masked_fill(scaled < border, -torch.inf)


def _top_k(scaled: Tensor, counts: list[float]) -> Tensor:
    """Without the tokens below the k-th largest logit."""
    places = torch.tensor([[int(count) - 1] for count in counts], device=scaled.device)
    border = scaled.topk(int(max(counts)), dim=-1).values.gather(-1, places)
    return scaled.masked_fill(scaled < border, -torch.inf)


def _nucleus(probs: Tensor, masses: list[float]) -> Tensor:
    """The fewest most probable tokens whose mass reaches ``masses``, renormalised."""
    wanted = _column(masses, probs)
    ordered = probs.topk(min(_NUCLEUS, probs.size(-1)), dim=-1).values
    mass = ordered.cumsum(dim=-1)
    border = _border(ordered, mass, wanted)
    wide = (mass[:, -1:] < wanted)[:, 0]
    if ordered.size(-1) < probs.size(-1) and wide.any():
        ordered = probs[wide].sort(dim=-1, descending=True).values
        border[wide] = _border(ordered, ordered.cumsum(dim=-1), wanted[wide])
    kept = probs.masked_fill(probs < border, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True)


def _border(ordered: Tensor, mass: Tensor, wanted: Tensor) -> Tensor:
    """[rows, 1]: the last of the ``ordered`` probabilities before which less than ``wanted`` has come together."""
    kept = (mass - ordered < wanted).sum(dim=-1, keepdim=True).clamp(min=1)  # the least positive float64 is 0 here
    return ordered.gather(-1, kept - 1)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
