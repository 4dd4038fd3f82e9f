"""A draft model that proposes chains, token by token."""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoding.acceptance import Prior
from decoding.laws import laws
from decoding.model import LanguageModel
from decoding.processors import Block
from decoding.proposal import EMPTY, Proposal
from decoding.randomness import choose_rows
from decoding.request import Origin, Request
from decoding.span import Span

_CATCH_UP_ROWS = 512


class ModelDrafter:
    """Proposes with a small language model and keeps its cache in step with the requests.

    The cache of a request always holds a prefix of its tokens, possibly followed by tokens of the last
    proposal. Whatever is missing, be it one token after a full acceptance or the whole text after a late
    routing decision, is fed before the next proposal.
    """

    origin = Origin.DRAFT
    num_drafts = 1

    def __init__(self, model: LanguageModel, prior: Prior | None = None):
        self.model, self.prior = model, prior or Prior()
        self._slots: dict[str, int] = {}

    @property
    def num_requests(self) -> int:
        """Requests that hold a slot of the draft's cache."""
        return len(self._slots)

    @property
    def num_bytes(self) -> int:
        """Memory of weights and cache."""
        return self.model.num_weight_bytes + self.model.cache.num_bytes

    def behind(self, request: Request) -> int | None:
        slot = self._slots.get(request.request_id)
        if slot is None and not self.model.cache.num_free:
            return None
        if len(request.token_ids) >= self.model.cache.max_length:
            return None
        return len(request.token_ids) - (self.model.cache.lengths[slot] if slot is not None else 0) - 1

    def num_nodes(self, num_draft_tokens: int) -> int:
        return num_draft_tokens

    def propose(self, requests: Sequence[Request], num_draft_tokens: Sequence[int]) -> list[Proposal]:
        """One chain a request; empty where the draft has no slot or no room left."""
        pairs = zip(requests, num_draft_tokens, strict=True)
        active = {i: n for i, (request, n) in enumerate(pairs) if n > 0 and self._has_room(request, n)}
        greedy = [i for i in active if requests[i].sampling.is_plain]
        drawn = [i for i in active if not requests[i].sampling.is_plain]
        proposals = [EMPTY] * len(requests)
        for which, draft in ((greedy, self._draft_greedily), (drawn, self._draft)):
            if which:
                chains = draft([requests[i] for i in which], [active[i] for i in which])
                for i, proposal in zip(which, chains, strict=True):
                    proposals[i] = proposal
        return proposals

    def _draft_greedily(self, requests: Sequence[Request], lengths: Sequence[int]) -> list[Proposal]:
        return [Proposal.chain(chain) for chain in self.model.draft(self._spans(requests), lengths)]

    def _draft(self, requests: Sequence[Request], lengths: Sequence[int]) -> list[Proposal]:
        chains: list[list[int]] = [[] for _ in requests]
        drawn_from: list[list[Tensor]] = [[] for _ in requests]
        active = list(range(len(requests)))
        for depth in range(max(lengths)):
            active = [i for i in active if lengths[i] > depth]
            group = [requests[i] for i in active]
            logits = self._extend(group, [chains[i][-1] for i in active]) if depth else self._catch_up(group)
            found = laws(logits, [Block.last(requests[i], chains[i]) for i in active], self.model.argmax)
            drawn: dict[int, Tensor] = {}
            for i, law in zip(active, found, strict=True):
                if isinstance(law, list):
                    chains[i].append(law[0])
                else:
                    drawn[i] = law
            if drawn:
                tokens = choose_rows(torch.cat(list(drawn.values())), [requests[i].randomness for i in drawn])
                for (i, law), token_id in zip(drawn.items(), tokens, strict=True):
                    chains[i].append(token_id)
                    drawn_from[i].append(law)
        return [
            Proposal.chain(chain, torch.cat(rows) if rows else None)
            for chain, rows in zip(chains, drawn_from, strict=True)
        ]

    def read(self, request: Request, start: int, end: int) -> tuple[Tensor, int] | None:
        """What this draft says at committed tokens: logits [end - start, vocab_size], and the rows that it was fed.

        The cache holds all tokens before the last of them afterwards. None without a slot or room.

        Args:
            start, end: places in ``request.token_ids``; 0 < start < end, at most all of them.
        """
        if not self._has_room(request, 0):
            return None
        slot = self._slots[request.request_id]
        held = min(self.model.cache.lengths[slot], start - 1)
        self.model.cache.rollback(slot, held)
        rows = end - 1 - held
        while held + _CATCH_UP_ROWS < start - 1:
            self._feed([Span(slot, request.token_ids[held : held + _CATCH_UP_ROWS], logits_from=_CATCH_UP_ROWS)])
            held += _CATCH_UP_ROWS
        logits = self._feed([Span(slot, request.token_ids[held : end - 1], logits_from=start - 1 - held)])
        return logits, rows

    def commit(self, request: Request, path: Sequence[int]) -> None:
        slot = self._slots[request.request_id]
        kept = min(len(request.token_ids) + len(path), self.model.cache.lengths[slot])
        self.model.cache.rollback(slot, kept)

    def release(self, request_id: str) -> None:
        slot = self._slots.pop(request_id, None)
        if slot is not None:
            self.model.cache.release(slot)

    def clear(self) -> None:
        """Forget all requests."""
        for request_id in list(self._slots):
            self.release(request_id)

    def _has_room(self, request: Request, length: int) -> bool:
        if len(request.token_ids) + length > self.model.cache.max_length:
            return False
        if request.request_id not in self._slots:
            if not self.model.cache.num_free:
                return False
            self._slots[request.request_id] = self.model.cache.allocate()
        return True

    def _catch_up(self, requests: Sequence[Request]) -> Tensor:
        """Logits [requests, vocab_size] after the last committed token of each."""
        return self._feed(self._spans(requests))

    def _spans(self, requests: Sequence[Request]) -> list[Span]:
        """What each cache misses, up to the last committed token; of a long text all but the end is fed here."""
        spans = [self._missing(request) for request in requests]
        while any(len(span.token_ids) > _CATCH_UP_ROWS for span in spans):
            self._feed([_first(span) for span in spans if len(span.token_ids) > _CATCH_UP_ROWS])
            spans = [self._missing(request) for request in requests]
        return spans

    def _missing(self, request: Request) -> Span:
        slot = self._slots[request.request_id]
        missing = request.token_ids[self.model.cache.lengths[slot] :]
        return Span(slot, missing, logits_from=len(missing) - 1)

    def _extend(self, requests: Sequence[Request], last_drafted: Sequence[int]) -> Tensor:
        pairs = zip(requests, last_drafted, strict=True)
        return self._feed([Span(self._slots[request.request_id], [token_id]) for request, token_id in pairs])

    def _feed(self, spans: list[Span]) -> Tensor:
        logits = self.model.forward(spans)
        for span in spans:
            self.model.cache.commit(span.slot, range(len(span.token_ids)))
        return logits


def _first(span: Span) -> Span:
    return Span(span.slot, span.token_ids[:_CATCH_UP_ROWS], logits_from=_CATCH_UP_ROWS)
