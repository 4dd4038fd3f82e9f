"""What every verification rule returns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """Accepted nodes, from the root down, and the target's own token after them.

    The token is a bonus if the path ends at a leaf, recovered after a rejection otherwise.
    """

    path: list[int]
    token_id: int
