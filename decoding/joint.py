"""Drafters that are asked together: one call proposes for the requests of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from decoding.drafter import Drafter
from decoding.proposal import Proposal
from decoding.request import Request


@dataclass(frozen=True, slots=True)
class Order:
    """What one drafter is to propose in a step; see `Drafter.propose`."""

    drafter: Drafter
    requests: Sequence[Request]
    num_draft_tokens: Sequence[int]


class Joint(Protocol):
    """What drafters have in common whose models can take their steps together; it knows nothing of requests."""

    def propose(self, orders: Sequence[Order]) -> list[list[Proposal]]:
        """What each order's drafter would propose by itself, for orders to drafters of this very joint."""
        ...


class JointDrafter:
    """Base of drafters that can be asked together with all others of the same ``joint``."""

    joint: Joint


def joint_of(drafter: Drafter) -> Joint | None:
    """Whom a drafter shares its steps with; None for nobody."""
    return drafter.joint if isinstance(drafter, JointDrafter) else None


def propose_all(orders: Sequence[Order]) -> list[list[Proposal]]:
    """The proposals of each order, in as few calls as the drafters allow."""
    found: list[list[Proposal]] = [[] for _ in orders]
    together: dict[Joint, list[int]] = {}
    for index, order in enumerate(orders):
        joint = joint_of(order.drafter)
        if joint is None:
            found[index] = order.drafter.propose(order.requests, order.num_draft_tokens)
        else:
            together.setdefault(joint, []).append(index)
    for joint, group in together.items():
        for index, proposals in zip(group, joint.propose([orders[i] for i in group]), strict=True):
            found[index] = proposals
    return found
