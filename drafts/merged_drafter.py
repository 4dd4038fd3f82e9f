"""Several drafts for one request: the union of what they propose, verified in one target run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from decoding.device.proposal import on_host
from decoding.drafter import Drafter
from decoding.joint import Order, propose_all
from decoding.proposal import EMPTY, Proposal
from decoding.request import Origin, Request


@dataclass(frozen=True, slots=True)
class Union:
    """Several proposals in one tree. ``nodes[d][i]`` is where node i of proposal d went."""

    proposal: Proposal
    nodes: list[list[int]]


def merge(proposals: Sequence[Proposal]) -> Union:
    """The union by shared prefix; a token that several proposals hold at one place is one node.

    Every draw stays a trial of its own with the law of the draft that made it, first proposal first, so the
    recursive rule is exact for the union (SpecInfer, Miao et al. 2023). Laws are concatenated in the same order.

    Args:
        proposals: all by one scheme; empty ones are fine.
    """
    schemes = {proposal.scheme for proposal in proposals if len(proposal)}
    assert len(schemes) <= 1, f"one rule cannot verify {sorted(schemes)}"
    token_ids: list[int] = []
    parents: list[int] = []
    found: dict[tuple[int, int], int] = {}  # parent and token -> node
    nodes: list[list[int]] = []
    draws: list[tuple[int, int]] = []
    num_laws = 0
    for proposal in proposals:
        places: list[int] = []
        for token_id, parent in zip(proposal.token_ids, proposal.parents, strict=True):
            key = places[parent] if parent >= 0 else -1, token_id
            if key not in found:
                found[key] = len(token_ids)
                token_ids.append(token_id)
                parents.append(key[0])
            places.append(found[key])
        draws += [(places[node], num_laws + law) for node, law in proposal.draws]
        num_laws += 0 if proposal.draft_probs is None else len(proposal.draft_probs)
        nodes.append(places)
    if not token_ids:
        return Union(EMPTY, nodes)
    laws = [proposal.draft_probs for proposal in proposals if proposal.draft_probs is not None]
    return Union(Proposal(token_ids, parents, torch.cat(laws) if laws else None, schemes.pop(), draws), nodes)


class MergedDrafter:
    """Lets several drafters propose for the same requests and merges what they say.

    Args:
        drafters: by name; each keeps its own state for a request, and may serve others alone meanwhile.
    """

    origin = Origin.DRAFT

    def __init__(self, drafters: Mapping[str, Drafter]):
        self._drafters = dict(drafters)
        self.num_drafts = sum(drafter.num_drafts for drafter in drafters.values())
        self.prior = max((drafter.prior for drafter in drafters.values()), key=lambda prior: prior.alpha)
        self._nodes: dict[str, list[list[int]]] = {}  # of each request's last proposal

    def behind(self, request: Request) -> int | None:
        each = [behind for drafter in self._drafters.values() if (behind := drafter.behind(request)) is not None]
        return sum(each) if each else None

    def num_nodes(self, num_draft_tokens: int) -> int:
        return sum(drafter.num_nodes(num_draft_tokens) for drafter in self._drafters.values())

    def propose(self, requests: Sequence[Request], num_draft_tokens: Sequence[int]) -> list[Proposal]:
        """The union of the drafters' proposals for each request."""
        orders = [Order(drafter, requests, num_draft_tokens) for drafter in self._drafters.values()]
        by_drafter = [on_host(proposals) for proposals in propose_all(orders)]
        unions = [merge(proposals) for proposals in zip(*by_drafter, strict=True)]
        for request, union in zip(requests, unions, strict=True):
            self._nodes[request.request_id] = union.nodes
        return [union.proposal for union in unions]

    def commit(self, request: Request, path: Sequence[int]) -> None:
        """Each drafter keeps the part of the path that it had proposed itself."""
        for drafter, places in zip(self._drafters.values(), self._nodes.pop(request.request_id), strict=True):
            if places:
                own = {place: node for node, place in enumerate(places)}
                kept: list[int] = []
                for node in path:
                    if node not in own:
                        break
                    kept.append(own[node])
                drafter.commit(request, kept)

    def release(self, request_id: str) -> None:
        self._nodes.pop(request_id, None)
        for drafter in self._drafters.values():
            drafter.release(request_id)
