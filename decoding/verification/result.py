"""What every verification rule returns."""

from dataclasses import dataclass


@dataclass(slots=True)  # not frozen: that would treble the cost of what every request gets at every step
class VerificationResult:
    """Accepted nodes, from the root down, and the target's own token after them.

    The token is a bonus if the path ends at a leaf, recovered after a rejection otherwise.
    """

    path: list[int]
    token_id: int
