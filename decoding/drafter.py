"""What the step loop asks of anything that proposes tokens."""

from collections.abc import Sequence
from typing import Protocol

from decoding.acceptance import Prior
from decoding.proposal import Proposal
from decoding.request import Origin, Request


class Drafter(Protocol):
    """Proposes continuations for requests and keeps whatever state it needs for them.

    A drafter may meet a request at any moment of its life
    (routing is late, versions are swapped): it catches up from ``request.token_ids`` by itself.
    Several that can propose in one call say so by being `decoding.joint.JointDrafter`s as well.

    Attributes:
        origin: labels its accepted tokens.
        prior: how often proposed tokens are accepted, before a request has shown it.
        num_drafts: models that take a step for each level of a proposal; 0 where proposals are free.
    """

    origin: Origin
    prior: Prior
    num_drafts: int

    def behind(self, request: Request) -> int | None:
        """Tokens that it must be fed before it can propose for a request; None where it could not propose at all."""
        ...

    def num_nodes(self, num_draft_tokens: int) -> int:
        """Most nodes of a proposal whose paths have at most ``num_draft_tokens`` tokens; a chain has as many."""
        ...

    def propose(self, requests: Sequence[Request], num_draft_tokens: Sequence[int]) -> list[Proposal]:
        """One proposal a request, of at most the given number of tokens along any path; may be empty."""
        ...

    def commit(self, request: Request, path: Sequence[int]) -> None:
        """The last proposal for ``request`` was verified: the nodes of ``path``, from the root down, stay.

        Called before ``request.token_ids`` grows.
        """
        ...

    def release(self, request_id: str) -> None:
        """The request is over, or has moved to another drafter. Unknown ids are fine."""
        ...
