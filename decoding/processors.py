"""Bias and penalties: what changes logits before temperature, for greedy and sampled requests alike.

Order and meaning are vLLM's (``vllm/v1/sample/sampler.py``, steps 5 and 6; ``apply_penalties``):

1. logit bias is added;
2. repetition penalty, over prompt and answer: a seen token's logit is divided by it if positive, else multiplied;
3. frequency penalty, over the answer: times the token's count there, subtracted;
4. presence penalty, over the answer: subtracted where the token stands in it.

A row inside a block of drafted tokens has seen the tokens on its path as well, as it would have if they had been
decoded one by one. So the processed law at a node depends on the text before it alone, for target and draft, and
every verification rule stays exact.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decoding.proposal import Proposal
from decoding.request import Request
from decoding.seen_tokens import SeenTokens


class Block(NamedTuple):
    """Rows of logits of one request: row i follows ``nodes[i]`` of a drafted tree, -1 being its committed tokens."""

    request: Request
    token_ids: Sequence[int] = ()
    parents: Sequence[int] = ()
    nodes: Sequence[int] = (-1,)

    @classmethod
    def whole(cls, request: Request, proposal: Proposal) -> "Block":
        """The rows that a target run gives for a proposal: 1 + nodes."""
        return cls(request, proposal.token_ids, proposal.parents, range(-1, len(proposal)))

    @classmethod
    def last(cls, request: Request, chain: Sequence[int]) -> "Block":
        """The one row that follows a chain of drafted tokens."""
        return cls(request, chain, range(-1, len(chain) - 1), (len(chain) - 1,))

    def path(self, row: int) -> Iterator[int]:
        """Drafted tokens before a row, the last one first."""
        node = self.nodes[row]
        while node >= 0:
            yield self.token_ids[node]
            node = self.parents[node]


def process(logits: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Logits after bias and penalties; ``logits`` itself, untouched, where no request asks for any.

    Args:
        logits: [rows of all blocks, vocab_size].
    """
    if not any(block.request.sampling.has_processors for block in blocks):
        return logits
    logits = logits.clone()
    start = 0
    penalised: list[tuple[int, Block]] = []
    for block in blocks:
        sampling, end = block.request.sampling, start + len(block.nodes)
        if sampling.logit_bias:
            token_ids, values = zip(*sampling.logit_bias, strict=True)
            logits[start:end, token_ids] += torch.tensor(values, dtype=logits.dtype, device=logits.device)
        if sampling.has_penalties:
            penalised.append((start, block))
        start = end
    if penalised:
        rows = [row for start, block in penalised for row in range(start, start + len(block.nodes))]
        index = torch.tensor(rows, device=logits.device)
        logits[index] = _penalised(logits[index], [block for _, block in penalised])
    return logits


def _penalised(logits: Tensor, blocks: Sequence[Block]) -> Tensor:
    owners = [block.request for block in blocks for _ in block.nodes]
    seen = [_seen(block.request, logits) for block in blocks]
    owner = torch.tensor([index for index, block in enumerate(blocks) for _ in block.nodes], device=logits.device)
    counts = torch.stack([each.in_answer for each in seen])[owner]
    drafted = [(row, token_id) for row, path in enumerate(_paths(blocks)) for token_id in path]
    if drafted:
        at = torch.tensor(drafted, device=logits.device).T
        counts.index_put_((at[0], at[1]), counts.new_ones(()), accumulate=True)
    in_answer = counts > 0
    in_text = torch.stack([each.in_prompt for each in seen])[owner] | in_answer

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=logits.dtype, device=logits.device)[:, None]

    repetition = column([request.sampling.repetition_penalty for request in owners])
    frequency = column([request.sampling.frequency_penalty for request in owners])
    presence = column([request.sampling.presence_penalty for request in owners])
    logits = torch.where(in_text, torch.where(logits > 0, logits / repetition, logits * repetition), logits)
    return logits - frequency * counts - presence * in_answer


def _paths(blocks: Sequence[Block]) -> Iterator[Iterator[int]]:
    return (block.path(row) for block in blocks for row in range(len(block.nodes)))


def _seen(request: Request, logits: Tensor) -> SeenTokens:
    if request.seen is None:
        request.seen = SeenTokens(request.prompt_token_ids, logits.size(-1), logits)
    request.seen.follow(request.token_ids)
    return request.seen
