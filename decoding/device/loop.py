"""The step loop of a target on a device: one read a step, at its end.

Drafts leave their tokens on the device, the target's pass takes them from there, and verification runs where the
logits are. What comes back is how many tokens each request accepted and which: the host plans the next step from it.

Requests that ask for penalties, a bias, a lossy rule, log-probabilities or traces, and trees, are verified as on a
CPU. Their tensors stay on the device, and every number that the rule looks at is a read of its own.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from decoding.controller import LengthController
from decoding.device import transfer
from decoding.device.model import DeviceModel
from decoding.device.proposal import DeviceProposal
from decoding.device.sampling import cuts, settings_of
from decoding.device.transfer import upload
from decoding.device.verification import Chains, verify_greedily, verify_sampled
from decoding.drafter import Drafter
from decoding.emission import Recorder
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, StepOutput
from decoding.step_loop import Orders, StepLoop
from decoding.turn import Turn
from decoding.verification import VerificationResult

T = TypeVar("T")


def make_loop(
    target: LanguageModel,
    drafters: Mapping[str, Drafter],
    num_draft_tokens: int | LengthController = 4,
    companion: str | None = None,
    recorder: Recorder | None = None,
) -> StepLoop:
    """The step loop for where ``target`` lives."""
    kind = DeviceStepLoop if isinstance(target, DeviceModel) else StepLoop
    return kind(target, drafters, num_draft_tokens, companion=companion, recorder=recorder)


def is_drawn_on_device(request: Request) -> bool:
    """Whether the request's laws are a matter of temperature and cuts alone."""
    sampling = request.sampling
    return not sampling.has_processors and (sampling.is_greedy or isinstance(request.randomness, SeededRandomness))


def noise(request: Request, count: int) -> list[float]:
    """Ts in [0, 1) of the request's own, for ``count`` decisions; a greedy request takes none."""
    if request.sampling.is_greedy:
        return [0.0] * count
    assert isinstance(request.randomness, SeededRandomness)
    return [request.randomness.uniform() for _ in range(count)]


class DeviceStepLoop(StepLoop):
    """See `StepLoop`; ``target`` is a `DeviceModel`, and drafts on the same device cost no read."""

    target: DeviceModel

    def _propose(self, turns: list[Turn], orders: list[Orders]) -> None:
        super()._propose(turns, orders)
        drafted: list[Tensor] = []
        start = 0
        for turn in turns:
            if isinstance(turn.proposal, DeviceProposal) and turn.proposal.drafted is not None:
                drafted.append(turn.proposal.drafted)
                end = start + len(turn.proposal)
                turn.proposal.token_ids[:] = range(-1 - start, -1 - end, -1)
                start = end
        self.target.drafted = torch.cat(drafted) if drafted else None

    def _verify(self, turns: list[Turn], logits: Tensor) -> list[StepOutput]:
        emitting = [turn for turn in turns if turn.is_complete]
        if not all(_is_simple(turn) for turn in emitting):
            self._read_proposals(emitting)
            return super()._verify(turns, logits)
        for turn in turns:
            if not turn.is_complete:
                self.target.cache.commit(turn.slot, range(len(turn.pending)))
        if not emitting:
            return []
        outputs: list[StepOutput] = []
        for turn, (accepted, *tokens) in zip(emitting, transfer.read(self._verdicts(emitting, logits)), strict=True):
            turn.proposal.token_ids[:accepted] = tokens[:accepted]
            outputs.append(self._commit(turn, VerificationResult(list(range(accepted)), tokens[accepted])))
        return outputs

    @torch.no_grad()
    def _verdicts(self, turns: list[Turn], logits: Tensor) -> Tensor:
        """What `verify_greedily` or `verify_sampled` says; [turns, K + 2], still on the device."""
        chains = self._chains(turns)
        params = [turn.request.sampling for turn in turns]
        if all(each.is_greedy for each in params):
            return verify_greedily(logits, chains)
        device, most = logits.device, chains.token_ids.size(1)
        laws: list[Tensor] = []
        law_at: list[list[int]] = []
        start = 0
        for turn in turns:
            probs, count = turn.proposal.draft_probs, len(turn.proposal)
            law_at.append(_padded([-1] * count if probs is None else range(start, start + count), most, -1))
            if probs is not None:
                laws.append(probs)
                start += count
        drawn_from = torch.cat(laws) if laws else logits.new_zeros(1, logits.size(1))
        settings = upload(settings_of(params, logits.size(1)), device, torch.float32)
        uniforms: list[list[float]] = []
        for turn in turns:
            *tests, last = noise(turn.request, len(turn.proposal) + 1)
            uniforms.append([*_padded(tests, most, 0.0), last])
        dice = upload(uniforms, device, torch.float64)
        return verify_sampled(logits, chains, drawn_from, upload(law_at, device), settings, dice, cuts(params))

    def _chains(self, turns: list[Turn]) -> Chains:
        most = max(1, *(len(turn.proposal) for turn in turns))
        table: list[list[int]] = []
        start = 0
        for turn in turns:
            count = len(turn.proposal)
            rows = _padded(range(start, start + count + 1), most + 1, start + count)
            table.append([count, *rows, *_padded(turn.proposal.token_ids, most, 0)])
            start += count + 1
        packed = upload(table, self.target.placement.device)
        lengths, places, token_ids = torch.split(packed, [1, most + 1, most], dim=1)
        return Chains(places, self.target.resolve(token_ids), lengths[:, 0])

    def _read_proposals(self, turns: list[Turn]) -> None:
        """Put drafted tokens where the ordinary rules look for them."""
        if self.target.drafted is not None:
            known = transfer.read(self.target.drafted)
            for turn in turns:
                own = turn.proposal.token_ids
                own[:] = [known[-1 - token_id] if token_id < 0 else token_id for token_id in own]


def _is_simple(turn: Turn) -> bool:
    request = turn.request
    if not is_drawn_on_device(request) or request.is_observed or request.sampling.lossy is not None:
        return False
    return not len(turn.proposal) or turn.proposal.is_chain


def _padded(values: Iterable[T], count: int, filler: T) -> list[T]:
    known = list(values)
    return [*known, *[filler] * (count - len(known))]
