"""What a drafter hands to the step loop."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Proposal:
    """A token tree that continues one request; a chain is a tree of width one.

    ``parents[i]`` is the node that node i continues, -1 for the last committed token; parents precede
    their children. ``draft_probs`` [nodes, vocab_size] holds, a node, the distribution that its token was
    **sampled** from; None says that the tokens were chosen deterministically. Which verification rules
    are exact follows from that (`decoding.verification`).
    """

    token_ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    draft_probs: Tensor | None = None

    @classmethod
    def chain(cls, token_ids: list[int], draft_probs: Tensor | None = None) -> "Proposal":
        """Each token continues the one before it."""
        return cls(token_ids, list(range(-1, len(token_ids) - 1)), draft_probs)

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def is_chain(self) -> bool:
        return all(parent == node - 1 for node, parent in enumerate(self.parents))


EMPTY = Proposal()
