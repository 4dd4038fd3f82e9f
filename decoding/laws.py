"""What a model says about the next token of each request: the most probable one, or a distribution."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from decoding.processors import Block, process
from decoding.sampling import argmax, probabilities

Law = list[int] | Tensor


def laws(logits: Tensor, blocks: Sequence[Block], argmax: Callable[[Tensor], list[int]] = argmax) -> list[Law]:
    """The law of every row of every block, after all that its request's sampling asks for.

    One argmax serves all greedy requests and one softmax all sampled ones.

    Args:
        logits: [rows of all blocks, vocab_size]; left as it is.
        argmax: the most probable token of each row; a model's own is faster than torch's.

    Returns:
        For a greedy request the most probable token id at each of its rows, otherwise distributions
        [rows of its block, vocab_size].
    """
    processed = process(logits, blocks)
    sampled = [block for block in blocks if not block.request.sampling.is_greedy]
    best = argmax(processed) if len(sampled) < len(blocks) else []
    probs = _sampled(processed, blocks) if sampled else processed
    found: list[Law] = []
    row = drawn = 0
    for block in blocks:
        size = len(block.nodes)
        if block.request.sampling.is_greedy:
            found.append(best[row : row + size])
        else:
            found.append(probs[drawn : drawn + size])
            drawn += size
        row += size
    return found


def _sampled(logits: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Distributions of the rows of sampled requests, in their order."""
    settings = [block.request.sampling for block in blocks for _ in block.nodes]
    rows = [row for row, params in enumerate(settings) if not params.is_greedy]
    if len(rows) == len(settings):
        return probabilities(logits, settings)
    chosen = logits[torch.tensor(rows, device=logits.device)]
    return probabilities(chosen, [settings[row] for row in rows])
