"""Chains whose tokens only the device knows yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from decoding.device import transfer
from decoding.proposal import Proposal, Scheme


@dataclass(frozen=True, slots=True)
class DeviceProposal(Proposal):
    """A chain; ``token_ids`` holds -1 for each token until the step has been read. ``drafted``: int64 [tokens]."""

    drafted: Tensor | None = None

    @classmethod
    def drawn(cls, drafted: Tensor, draft_probs: Tensor | None) -> "DeviceProposal":
        """Tokens [tokens], and the laws [tokens, vocab_size] that they were drawn from, if they were."""
        nodes = range(len(drafted))
        parents = list(range(-1, len(drafted) - 1))
        scheme = Scheme.FIXED if draft_probs is None else Scheme.INDEPENDENT
        draws = () if draft_probs is None else list(zip(nodes, nodes, strict=True))
        return cls([-1] * len(drafted), parents, draft_probs, scheme, draws, drafted)


def on_host(proposals: Sequence[Proposal]) -> list[Proposal]:
    """The same with their tokens, which takes one read where any has to be asked for."""
    asked = [each.drafted for each in proposals if isinstance(each, DeviceProposal) and each.drafted is not None]
    if not asked:
        return list(proposals)
    tokens = iter(transfer.read(torch.cat(asked)))
    return [
        replace(each, token_ids=[next(tokens) for _ in each.token_ids], drafted=None)
        if isinstance(each, DeviceProposal) and each.drafted is not None
        else each
        for each in proposals
    ]
