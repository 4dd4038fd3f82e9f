"""Several drafts of which one proposes for a request at a time: the one that its answer has spoken for so far.

Who proposes is decided by `router.hedge` from what a router expected and from how well each draft would have guessed
the tokens that the target has said. It depends on the text alone, and never on a token still to come, so that the
rules of verification are as exact as with one draft.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from decoding.laws import laws
from decoding.processors import Block
from decoding.proposal import EMPTY, Proposal
from decoding.randomness import SeededRandomness
from decoding.request import Origin, Request
from drafts.model_drafter import ModelDrafter
from router.costs import Floats
from router.hedge import HedgeRule, leader, log_prior


@dataclass(slots=True)
class _Account:
    """Of one request."""

    prior: Floats
    losses: Floats  # by draft, of the tokens looked at
    current: int
    looks: int = 0


@dataclass(slots=True)
class ScoringCounts:
    """What scoring has cost: forwards and rows of drafts that did not propose, and again of the one that did."""

    num_reads: int = 0
    num_rows: int = 0
    num_own_reads: int = 0
    num_own_rows: int = 0
    num_changes: int = 0


class HedgeDrafter:
    """Lets one of several drafts propose for each request, and may change it in mid-answer.

    A look reads the tokens since the last one into the cache of every candidate, the prompt the first time. What is to
    be read is part of `behind`, so that a controller charges it to the next proposal.

    Args:
        drafters: by name; each keeps its own state for a request, and may serve others alone meanwhile.
        expected: predicted cost a token of each draft, in their order; the least one begins.
    """

    origin = Origin.DRAFT
    num_drafts = 1

    def __init__(
        self,
        drafters: Mapping[str, ModelDrafter],
        expected: Callable[[Request], Sequence[float]],
        rule: HedgeRule | None = None,
    ):
        self.counts = ScoringCounts()
        self._drafters = list(drafters.values())
        self._expected, self._rule = expected, rule or HedgeRule()
        self.prior = max((drafter.prior for drafter in self._drafters), key=lambda prior: prior.alpha)
        self._accounts: dict[str, _Account] = {}
        self._proposed: dict[str, ModelDrafter] = {}

    def behind(self, request: Request) -> int | None:
        """Tokens that the one that proposes misses, and those that a look reads into all candidates."""
        account = self._account(request)
        own = self._drafters[account.current].behind(request)
        if own is None or not self._due(account, request):
            return own
        end = len(request.prompt_token_ids) + self._rule.num_looks(_answered(request)) * self._rule.chunk
        start = len(request.prompt_token_ids) + account.looks * self._rule.chunk
        unread = start if account.looks == 0 else 0
        others = sum(1 for _ in self._candidates(account)) - 1
        return own + (others + 1) * (end - start) + others * unread

    def num_nodes(self, num_draft_tokens: int) -> int:
        return num_draft_tokens

    def propose(self, requests: Sequence[Request], num_draft_tokens: Sequence[int]) -> list[Proposal]:
        """Look where a look is due; then each draft proposes for its own requests, in one batch."""
        groups: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            account = self._account(request)
            if self._due(account, request):
                self._look(account, request)
            groups.setdefault(account.current, []).append(index)
        found = [EMPTY] * len(requests)
        for place, group in groups.items():
            drafter = self._drafters[place]
            proposals = drafter.propose([requests[i] for i in group], [num_draft_tokens[i] for i in group])
            for i, proposal in zip(group, proposals, strict=True):
                found[i] = proposal
                self._proposed[requests[i].request_id] = drafter
        return found

    def commit(self, request: Request, path: Sequence[int]) -> None:
        self._proposed[request.request_id].commit(request, path)

    def release(self, request_id: str) -> None:
        self._accounts.pop(request_id, None)
        self._proposed.pop(request_id, None)
        for drafter in self._drafters:
            drafter.release(request_id)

    def _account(self, request: Request) -> _Account:
        account = self._accounts.get(request.request_id)
        if account is None:
            prior = log_prior(self._expected(request), self._rule)
            account = _Account(prior, np.zeros(len(prior)), int(prior.argmax()))
            self._accounts[request.request_id] = account
        return account

    def _candidates(self, account: _Account) -> Sequence[int]:
        return [int(place) for place in np.flatnonzero(np.isfinite(account.prior))]

    def _due(self, account: _Account, request: Request) -> bool:
        """A look, and somebody to choose from."""
        return self._rule.num_looks(_answered(request)) > account.looks and len(self._candidates(account)) > 1

    def _look(self, account: _Account, request: Request) -> None:
        """Score what was said since the last look. A draft without a free slot is no candidate any more."""
        chunk, done, due = self._rule.chunk, account.looks, self._rule.num_looks(_answered(request))
        first = len(request.prompt_token_ids) + done * chunk
        losses = np.zeros((len(self._drafters), (due - done) * chunk))
        for place in self._candidates(account):
            found = self._losses(self._drafters[place], request, first, first + losses.shape[1], account, place)
            if found is None:
                account.prior[place] = -np.inf
            else:
                losses[place] = found
        for look in range(due - done):
            account.losses += losses[:, look * chunk : (look + 1) * chunk].sum(axis=1)
            chosen = leader(account.prior, account.losses, account.current, self._rule)
            self.counts.num_changes += chosen != account.current
            account.current = chosen
        account.looks = due

    def _losses(
        self, drafter: ModelDrafter, request: Request, start: int, end: int, account: _Account, place: int
    ) -> Floats | None:
        """1 less the draft's probability of each token from ``start`` to ``end``; None where it has no room."""
        read = drafter.read(request, start, end)
        if read is None:
            return None
        logits, rows = read
        own = place == account.current
        self.counts.num_own_reads += own
        self.counts.num_own_rows += rows * own
        self.counts.num_reads += not own
        self.counts.num_rows += rows * (not own)
        said = torch.tensor(request.token_ids[start:end])
        prompt = list(request.prompt_token_ids)
        before = Request("", prompt, request.sampling, SeededRandomness(0))
        chain, first = request.token_ids[len(prompt) : end - 1], start - len(prompt)
        block = Block(before, chain, range(-1, len(chain) - 1), range(first - 1, end - len(prompt) - 1))
        (law,) = laws(logits, [block], drafter.model.argmax)
        if isinstance(law, list):
            return np.asarray((torch.tensor(law) != said).double().numpy())
        return np.asarray(1.0 - law.gather(-1, said[:, None])[:, 0].double().numpy())


def _answered(request: Request) -> int:
    return len(request.token_ids) - len(request.prompt_token_ids)
