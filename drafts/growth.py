"""A proposal while it grows, level by level, and the draws of one level."""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoding.proposal import EMPTY, Proposal, Scheme
from decoding.randomness import Randomness, choose_rows


class GrowingTree:
    """Nodes, draws and laws of one request's tree.

    Attributes:
        token_ids, parents: as in `Proposal`.
        frontier: nodes of the deepest level, -1 alone at the start.
        num_paths: how often each of them was drawn.
    """

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.parents: list[int] = []
        self.frontier: list[int] = [-1]
        self.num_paths: list[int] = [1]
        self._laws: list[Tensor] = []  # a level
        self._draws: list[tuple[int, int]] = []

    def add_level(self, tokens: Sequence[Sequence[int]], laws: Tensor | None = None) -> None:
        """Give each frontier node its row of ``tokens`` as children, in order; a repeated token is one child.

        Args:
            laws: [frontier, vocab_size], what the tokens were drawn from; None if they were not.
        """
        num_paths: dict[int, int] = {}
        first_law = sum(len(level) for level in self._laws)
        for row, (parent, row_tokens) in enumerate(zip(self.frontier, tokens, strict=True)):
            children: dict[int, int] = {}
            for token_id in row_tokens:
                if token_id not in children:
                    children[token_id] = len(self.token_ids)
                    self.token_ids.append(token_id)
                    self.parents.append(parent)
                node = children[token_id]
                num_paths[node] = num_paths.get(node, 0) + 1
                if laws is not None:
                    self._draws.append((node, first_law + row))
        if laws is not None:
            self._laws.append(laws)
        self.frontier, self.num_paths = list(num_paths), list(num_paths.values())

    def proposal(self, scheme: Scheme) -> Proposal:
        """What has grown so far; ``scheme`` is that of its draws, if there are any."""
        if not self.token_ids:
            return EMPTY
        if not self._laws:
            return Proposal(self.token_ids, self.parents)
        return Proposal(self.token_ids, self.parents, torch.cat(self._laws), scheme, self._draws)


def draw_rows(laws: Tensor, counts: Sequence[int], replacement: bool, sources: Sequence[Randomness]) -> list[list[int]]:
    """Tokens of each row of ``laws`` [rows, vocab_size] in draw order, each row decided by its own source.

    Args:
        counts: tokens a row; without replacement at most as many as have a probability.
    """
    rest = laws
    if not replacement:
        rest = laws.clone()
        counts = [min(pair) for pair in zip(counts, laws.count_nonzero(dim=-1).tolist(), strict=True)]
    drawn: list[list[int]] = [[] for _ in counts]
    for turn in range(max(counts, default=0)):
        rows = [row for row, count in enumerate(counts) if count > turn]
        weights = rest if len(rows) == len(counts) else rest[rows]
        tokens = choose_rows(weights, [sources[row] for row in rows])
        for row, token_id in zip(rows, tokens, strict=True):
            drawn[row].append(token_id)
        if not replacement:
            rest[rows, tokens] = 0
    return drawn
