"""What a drafter hands to the step loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from torch import Tensor

MAX_DRAFT_TOKENS = 12  # along any path; how long a proposal may be asked for


class Scheme(StrEnum):
    """How the tokens of a proposal were picked; the exact verification rule follows from it."""

    FIXED = "fixed"  # without drawing: the k most probable, copied text, merged guesses
    INDEPENDENT = "independent"  # each child drawn by itself, its law never depending on its siblings
    WITHOUT_REPLACEMENT = "without_replacement"  # children of one law drawn one after the other, each token once
    PATHS = "paths"  # whole paths, independent and all from one draft: children of a node share one law


@dataclass(frozen=True, slots=True)
class Proposal:
    """A token tree that continues one request; a chain is a tree of width one.

    ``parents[i]`` is the node that node i continues, -1 for the last committed token; parents precede
    their children, and no two children of one parent carry the same token.

    Unless the scheme is FIXED, the tokens were **drawn**: ``draws`` lists (node, law) in draw order, law being
    the row of ``draft_probs`` [laws, vocab_size] that the node's token came from. Children of one parent share a
    row where one draft drew them; a token that was drawn twice is one node with two draws, each a trial of its own.
    """

    token_ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    draft_probs: Tensor | None = None
    scheme: Scheme = Scheme.FIXED
    draws: Sequence[tuple[int, int]] = ()

    def __post_init__(self) -> None:
        is_fixed = self.scheme is Scheme.FIXED
        assert is_fixed == (self.draft_probs is None) == (not self.draws), "tokens that were not drawn have no law"

    @classmethod
    def chain(cls, token_ids: list[int], draft_probs: Tensor | None = None) -> "Proposal":
        """Each token continues the one before it; drawn from its row of ``draft_probs``, if there are any."""
        nodes = range(len(token_ids))
        parents = list(range(-1, len(token_ids) - 1))
        if draft_probs is None:
            return cls(token_ids, parents)
        return cls(token_ids, parents, draft_probs, Scheme.INDEPENDENT, list(zip(nodes, nodes, strict=True)))

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def is_chain(self) -> bool:
        """Width one, and every token drawn at most once."""
        return len(self.draws) <= len(self.parents) and all(p == node - 1 for node, p in enumerate(self.parents))


EMPTY = Proposal()
