"""Which tokens a draft's head keeps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoding.output_vocabulary import widen


def output_vocabulary(token_ids: Tensor, coverage: float, multiple: int = 64) -> list[int]:
    """The most frequent of ``token_ids`` [n], so many that they make up ``coverage`` of them; ascending.

    Args:
        multiple: their number is rounded up to one, which a compiled head computes anyway.
    """
    frequencies = token_ids.long().bincount().sort(descending=True, stable=True)
    reached = frequencies.values.cumsum(0) >= coverage * len(token_ids)
    count = -(-(int(reached.int().argmax()) + 1) // multiple) * multiple
    return sorted(frequencies.indices[:count].tolist())


def restrict(logits: Tensor, vocabulary: Sequence[int] | None) -> Tensor:
    """Logits [n, vocab_size] of a draft that emits nothing but ``vocabulary``; None is everything."""
    if vocabulary is None:
        return logits
    kept = torch.tensor(vocabulary, device=logits.device)
    return widen(logits[:, kept], kept, logits.size(-1))
