"""A draft model on an accelerator: its tokens stay there until the step has been verified."""

from collections.abc import Sequence

from decoding.acceptance import Prior
from decoding.device.loop import is_drawn_on_device, noise
from decoding.device.model import DeviceModel
from decoding.device.proposal import DeviceProposal
from decoding.proposal import EMPTY, Proposal
from decoding.request import Request
from drafts.model_drafter import ModelDrafter


class DeviceDrafter(ModelDrafter):
    """Proposes chains as `ModelDrafter` does, in one loop on the device without waiting for it.

    Requests with penalties or a bias are drafted for token by token, since their laws need the tokens on the host.
    """

    model: DeviceModel

    def __init__(self, model: DeviceModel, prior: Prior | None = None):
        super().__init__(model, prior)

    def _draft_greedily(self, requests: Sequence[Request], lengths: Sequence[int]) -> list[Proposal]:
        params = [request.sampling for request in requests]
        is_drawn = not all(each.is_greedy for each in params)
        dice = [noise(*pair) for pair in zip(requests, lengths, strict=True)] if is_drawn else []
        drafted, laws = self.model.draft_chains(self._spans(requests), lengths, params, dice)
        return [
            DeviceProposal.drawn(drafted[row, :length], None if laws is None else laws[row, :length])
            for row, length in enumerate(lengths)
        ]

    def _draft(self, requests: Sequence[Request], lengths: Sequence[int]) -> list[Proposal]:
        proposals: list[Proposal] = [EMPTY] * len(requests)
        simple = [i for i, request in enumerate(requests) if is_drawn_on_device(request)]
        others = [i for i in range(len(requests)) if i not in simple]
        for which, draft in ((simple, self._draft_greedily), (others, super()._draft)):
            if which:
                chains = draft([requests[i] for i in which], [lengths[i] for i in which])
                for i, proposal in zip(which, chains, strict=True):
                    proposals[i] = proposal
        return proposals
