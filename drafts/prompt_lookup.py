"""Proposals copied from the request's own text: free, no weights."""

from collections.abc import Sequence

from decoding.acceptance import Prior
from decoding.proposal import EMPTY, Proposal
from decoding.request import Origin, Request

NGRAM_SIZES = (4, 3, 2)  # longest first: a longer match is more often right


class PromptLookup:
    """Finds the last tokens earlier in prompt and answer and proposes what followed them there.

    Source: prompt lookup decoding (Saxena 2023); the newest earlier occurrence wins. The proposal is
    deterministic, so it carries no ``draft_probs``.
    """

    origin = Origin.LOOKUP
    prior = Prior(0.7)
    num_drafts = 0

    def __init__(self) -> None:
        self._indices: dict[str, _NgramIndex] = {}

    def behind(self, request: Request) -> int | None:
        return None if self._find(request) is None else 0

    def num_nodes(self, num_draft_tokens: int) -> int:
        return num_draft_tokens

    def propose(self, requests: Sequence[Request], num_draft_tokens: Sequence[int]) -> list[Proposal]:
        return [self._propose(*pair) for pair in zip(requests, num_draft_tokens, strict=True)]

    def commit(self, request: Request, path: Sequence[int]) -> None:
        """Nothing to repair: the index is built from committed tokens only."""

    def release(self, request_id: str) -> None:
        self._indices.pop(request_id, None)

    def _propose(self, request: Request, length: int) -> Proposal:
        start = self._find(request)
        if start is None or length < 1:
            return EMPTY
        return Proposal.chain(_copy(request.token_ids, start, length))

    def _find(self, request: Request) -> int | None:
        return self._indices.setdefault(request.request_id, _NgramIndex()).find(request.token_ids)


def _copy(token_ids: list[int], start: int, length: int) -> list[int]:
    """``length`` tokens from ``start`` on; past the end it goes on with its own copy, so a period repeats."""
    copied = token_ids[start : start + length]
    period = len(token_ids) - start
    while len(copied) < length:
        copied.append(copied[-period])
    return copied


class _NgramIndex:
    """Where each n-gram was last followed by something, brought up to date token by token."""

    def __init__(self) -> None:
        self._follower: dict[tuple[int, ...], int] = {}
        self._length = 0
        self._found: int | None = None

    def find(self, token_ids: list[int]) -> int | None:
        """Where the text's last n-gram stood before, if it did; asked twice a step, it is looked up once."""
        if len(token_ids) != self._length:
            self._extend(token_ids)
            ends = (self._follower.get(tuple(token_ids[-size:])) for size in NGRAM_SIZES)
            self._found = next((start for start in ends if start is not None), None)
        return self._found

    def _extend(self, token_ids: list[int]) -> None:
        follower = self._follower
        for end in range(max(self._length, 1), len(token_ids)):  # token_ids[end] follows the n-grams that end before it
            last = tuple(token_ids[max(0, end - NGRAM_SIZES[0]) : end])
            for size in NGRAM_SIZES:
                if size <= end:
                    follower[last[-size:]] = end
        self._length = len(token_ids)
