"""The rows that one sequence contributes to a forward pass."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of one sequence: tokens that follow what its cache slot holds, as a chain or as a tree.

    ``parents[i]`` is the row that row i continues, -1 for the end of the cached prefix; parents precede
    their children. None means a chain (row i continues row i - 1). A row sees the cached prefix, its
    ancestors and itself; its position is the cached length plus its depth.

    ``is_prompt`` allows a model to compute the rows in another way than those of an answer, which may round otherwise.
    It must follow from the request alone: a token is a prompt's in whatever batch and portions it is read.

    Logits are returned for rows ``logits_from`` and later (``len(token_ids)`` means none at all).
    """

    slot: int
    token_ids: list[int]
    parents: list[int] | None = None
    logits_from: int = 0
    is_prompt: bool = False

    @property
    def num_logits(self) -> int:
        return len(self.token_ids) - self.logits_from
