"""Drafts of one stack on an accelerator: the requests of all of them are drafted for in one loop."""

from collections.abc import Sequence
from dataclasses import dataclass

from decoding.acceptance import Prior
from decoding.device.loop import is_drawn_on_device, noise
from decoding.device.proposal import DeviceProposal
from decoding.device.stack import DraftStack, StackedDraft
from decoding.joint import JointDrafter, Order
from decoding.proposal import EMPTY, Proposal
from decoding.request import Request
from decoding.span import Span
from drafts.device_drafter import DeviceDrafter


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request's part of a loop, and where its proposal goes: an order and a place in it."""

    order: int
    index: int
    place: int
    request: Request
    length: int
    span: Span


class StackedDrafts:
    """A stack as the drafters of its places share it."""

    def __init__(self, stack: DraftStack):
        self.stack = stack

    def drafter(self, model: StackedDraft, prior: Prior | None = None) -> "StackedDrafter":
        """Of the draft in one of the stack's places."""
        assert model is self.stack.drafts[model.place]
        return StackedDrafter(model, self, prior)

    def propose(self, orders: Sequence[Order]) -> list[list[Proposal]]:
        """See `Joint.propose`; one loop for all requests, but for those whose laws need tokens on the host.

        Orders to one drafter only are its own affair: on its place alone it reads no other draft's weights.
        """
        if len({_drafter(order).place for order in orders}) == 1:
            return [order.drafter.propose(order.requests, order.num_draft_tokens) for order in orders]
        found = [[EMPTY] * len(order.requests) for order in orders]
        asked: list[_Asked] = []
        for number, order in enumerate(orders):
            drafter, pairs = _drafter(order), list(zip(order.requests, order.num_draft_tokens, strict=True))
            alone = [i for i, (request, _) in enumerate(pairs) if not is_drawn_on_device(request)]
            own = drafter.propose([pairs[i][0] for i in alone], [pairs[i][1] for i in alone]) if alone else []
            for i, proposal in zip(alone, own, strict=True):
                found[number][i] = proposal
            together = [i for i in range(len(pairs)) if i not in alone]
            for i, span in drafter.missing({i: pairs[i] for i in together}).items():
                asked.append(_Asked(number, i, drafter.place, *pairs[i], span))
        for each, proposal in zip(asked, self._drawn(asked) if asked else [], strict=True):
            found[each.order][each.index] = proposal
        return found

    def _drawn(self, asked: Sequence[_Asked]) -> list[Proposal]:
        params, lengths = [each.request.sampling for each in asked], [each.length for each in asked]
        is_drawn = not all(each.is_greedy for each in params)
        dice = [noise(each.request, each.length) for each in asked] if is_drawn else []
        places, spans = [each.place for each in asked], [each.span for each in asked]
        drafted, laws = self.stack.draft_chains(places, spans, lengths, params, dice)
        return [
            DeviceProposal.drawn(
                drafted[row, :length], None if laws is None or params[row].is_greedy else laws[row, :length]
            )
            for row, length in enumerate(lengths)
        ]


class StackedDrafter(DeviceDrafter, JointDrafter):
    """Proposes as `DeviceDrafter` does, alone or in one call with the other drafters of its stack."""

    joint: StackedDrafts

    def __init__(self, model: StackedDraft, joint: StackedDrafts, prior: Prior | None = None):
        super().__init__(model, prior)
        self.joint, self.place = joint, model.place

    @property
    def num_bytes(self) -> int:
        """Memory of its place, and of its part of the common cache."""
        stack = self.joint.stack
        return self.model.num_weight_bytes + stack.cache.num_bytes // len(stack.drafts)

    def missing(self, asked: dict[int, tuple[Request, int]]) -> dict[int, Span]:
        """What the draft is to be fed before it goes on, for the requests that it has a slot and room for.

        Args:
            asked: requests, and how many tokens are to be proposed for each.
        """
        ready = {i: request for i, (request, length) in asked.items() if length > 0 and self._has_room(request, length)}
        return dict(zip(ready, self._spans(list(ready.values())), strict=True))


def _drafter(order: Order) -> StackedDrafter:
    assert isinstance(order.drafter, StackedDrafter)
    return order.drafter
