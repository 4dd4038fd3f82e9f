"""Proposals copied from the request's own text: free, no weights."""

from collections.abc import Sequence

from decoding.acceptance import Prior
from decoding.proposal import EMPTY, Proposal
from decoding.request import Origin, Request

_TOKEN_BITS = 32
_MOST_PLACES = 256  # that a step looks at: a long text may have its last pair everywhere


class PromptLookup:
    """Finds the last tokens earlier in prompt and answer and proposes what followed them there.

    Source: prompt lookup decoding (Saxena 2023). The last four tokens are looked for, else three, else two: a longer
    match is more often right. The newest earlier occurrence wins. The proposal is deterministic, so it carries no
    ``draft_probs``.
    """

    origin = Origin.LOOKUP
    prior = Prior(0.7)
    num_drafts = 0

    def __init__(self) -> None:
        self._indices: dict[str, _NgramIndex] = {}

    def behind(self, request: Request) -> int | None:
        index = self._indices.get(request.request_id)
        found = self._find(request) if index is None else index.find(request.token_ids)
        return None if found is None else 0

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
        index = self._indices.get(request.request_id)
        if index is None:
            index = self._indices[request.request_id] = _NgramIndex()
        return index.find(request.token_ids)


def _copy(token_ids: list[int], start: int, length: int) -> list[int]:
    """``length`` tokens from ``start`` on; past the end it goes on with its own copy, so a period repeats."""
    copied = token_ids[start : start + length]
    period = len(token_ids) - start
    while len(copied) < length:
        copied.append(copied[-period])
    return copied


class _NgramIndex:
    """Where each pair of tokens was followed by something, newest first, brought up to date token by token.

    Most texts end in a pair that is new, which one look tells; a longer match is looked for among the places of a
    known one.
    """

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}  # by pair: the last place that follows it
        self._before = [0, 0]  # by place: the one before it that follows the same pair; 0 for none
        self._found: int | None = None

    def find(self, token_ids: list[int]) -> int | None:
        """Where the text's last n-gram stood before, if it did; asked twice a step, it is looked up once."""
        if len(token_ids) != len(self._before):
            self._found = self._look(token_ids)
        return self._found

    def _look(self, token_ids: list[int]) -> int | None:
        newest, before = self._newest, self._before
        for place in range(len(before), len(token_ids)):  # token_ids[place] follows the pair that ends before it
            pair = token_ids[place - 2] << _TOKEN_BITS | token_ids[place - 1]
            before.append(newest.get(pair, 0))
            newest[pair] = place
        if len(token_ids) < len(before):  # a single token
            return None
        start = newest.get(token_ids[-2] << _TOKEN_BITS | token_ids[-1])
        return None if start is None else self._longest_match(token_ids, start)

    def _longest_match(self, token_ids: list[int], start: int) -> int:
        """Of the newest places that follow the text's last pair, ``start`` first: the one that most matches precede."""
        count = len(token_ids)
        third, fourth = token_ids[-3] if count > 2 else -1, token_ids[-4] if count > 3 else -1
        found, place, left = 0, start, _MOST_PLACES
        while place and left:
            left -= 1
            if place > 2 and token_ids[place - 3] == third:
                if place > 3 and token_ids[place - 4] == fourth:
                    return place
                found = found or place
            place = self._before[place]
        return found or start
