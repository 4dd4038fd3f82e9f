"""A draft model that proposes token trees, level by level."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from decoding.acceptance import Prior
from decoding.laws import laws as laws_of
from decoding.model import LanguageModel
from decoding.processors import Block, process
from decoding.proposal import EMPTY, Proposal, Scheme
from decoding.request import Request
from decoding.span import Span
from drafts.expansion import Expansion
from drafts.growth import GrowingTree, draw_rows
from drafts.model_drafter import ModelDrafter


class TreeDrafter(ModelDrafter):
    """Grows a tree of the given shape for each request, all requests together, a forward a level.

    Rows of a level are not committed, so the next one feeds them again with its own: trees are small, and
    rows whose logits are not asked for spare the head, which is most of a draft. What the last forward wrote
    is kept along the accepted path.

    Source: multi-candidate speculative decoding (Yang et al. 2024) and SpecInfer's expansion (Miao et al. 2023).

    Args:
        expansion: shape and scheme; a request's own length cuts the depth.
    """

    def __init__(self, model: LanguageModel, expansion: Expansion, prior: Prior | None = None):
        super().__init__(model, prior)
        self.expansion = expansion
        self._num_fed: dict[str, int] = {}  # nodes whose rows lie behind the committed ones

    def num_nodes(self, num_draft_tokens: int) -> int:
        return self.expansion.num_nodes(num_draft_tokens)

    def propose(self, requests: Sequence[Request], num_draft_tokens: Sequence[int]) -> list[Proposal]:
        """One tree a request; empty where the draft has no slot or no room left."""
        depths = [self._fitting(*pair) for pair in zip(requests, num_draft_tokens, strict=True)]
        trees = {index: GrowingTree() for index, depth in enumerate(depths) if depth}
        for level in range(max(depths, default=0)):
            growing = {index: tree for index, tree in trees.items() if depths[index] > level}
            group = [requests[index] for index in growing]
            logits = self._next_level(group, list(growing.values())) if level else self._catch_up(group)
            self._grow(group, list(growing.values()), logits, self.expansion.children[level])
        return [
            trees[index].proposal(self.expansion.scheme) if index in trees else EMPTY for index in range(len(requests))
        ]

    def commit(self, request: Request, path: Sequence[int]) -> None:
        fed = self._num_fed.pop(request.request_id, 0)
        self.model.cache.commit(self._slots[request.request_id], [node for node in path if node < fed])

    def release(self, request_id: str) -> None:
        super().release(request_id)
        self._num_fed.pop(request_id, None)

    def _fitting(self, request: Request, num_draft_tokens: int) -> int:
        """The deepest level up to ``num_draft_tokens`` for which the draft's cache has room."""
        for depth in range(min(num_draft_tokens, self.expansion.depth), 0, -1):
            if self._has_room(request, self.expansion.num_nodes(depth)):
                return depth
        return 0

    def _next_level(self, requests: Sequence[Request], trees: Sequence[GrowingTree]) -> Tensor:
        """Logits of all frontier nodes [nodes, vocab_size], after feeding the trees whole."""
        spans = []
        for request, tree in zip(requests, trees, strict=True):
            slot, nodes = self._slots[request.request_id], len(tree.token_ids)
            self._num_fed[request.request_id] = nodes
            spans.append(Span(slot, list(tree.token_ids), list(tree.parents), nodes - len(tree.frontier)))
        return self.model.forward(spans)

    def _grow(self, requests: Sequence[Request], trees: Sequence[GrowingTree], logits: Tensor, count: int) -> None:
        """Add a level to every tree; ``logits`` [frontier nodes of all trees, vocab_size]."""
        ends = list(accumulate(len(tree.frontier) for tree in trees))
        for is_greedy in (True, False):
            members = [index for index, request in enumerate(requests) if request.sampling.is_greedy is is_greedy]
            if not members:
                continue
            rows = [row for i in members for row in range(ends[i] - len(trees[i].frontier), ends[i])]
            own = logits if len(rows) == len(logits) else logits[rows]
            blocks = [Block(requests[i], trees[i].token_ids, trees[i].parents, trees[i].frontier) for i in members]
            add = _add_best if is_greedy else self._add_drawn
            add([trees[i] for i in members], blocks, own, count)

    def _add_drawn(self, trees: Sequence[GrowingTree], blocks: Sequence[Block], logits: Tensor, count: int) -> None:
        scheme = self.expansion.scheme
        laws = torch.cat([law for law in laws_of(logits, blocks) if isinstance(law, Tensor)])
        counts = [count * (paths if scheme is Scheme.PATHS else 1) for tree in trees for paths in tree.num_paths]
        sources = [block.request.randomness for block in blocks for _ in block.nodes]
        tokens = draw_rows(laws, counts, scheme is not Scheme.WITHOUT_REPLACEMENT, sources)
        start = 0
        for tree in trees:
            end = start + len(tree.frontier)
            tree.add_level(tokens[start:end], laws[start:end])
            start = end


def _add_best(trees: Sequence[GrowingTree], blocks: Sequence[Block], logits: Tensor, count: int) -> None:
    best = process(logits, blocks).topk(min(count, logits.size(1)), dim=-1).indices.tolist()
    for tree in trees:
        width = len(tree.frontier)
        tree.add_level(best[:width])
        best = best[width:]
