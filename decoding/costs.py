"""What a draft step and a wider target run cost on this machine, relative to a target run over one row."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter

import torch

from decoding.model import LanguageModel
from decoding.span import Span

ROWS = (1, 2, 3, 5, 8, 12, 16, 17, 24, 32, 33, 48)  # tiles hold sixteen: the next row may cost a step
_FEW = 5  # runs for a quick look
_DRAFT_STEPS = 4  # a proposal: only its first step finds the draft's weights outside the nearest cache, as in the loop


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Costs on this machine, in target runs over one row behind ``context`` cached tokens.

    Attributes:
        target: rows of a target run for one sequence -> cost, measured at some counts, interpolated between.
        draft: requests drafted for at once -> cost of one draft step, likewise.
        attention_per_token: cost of each cached token beyond ``context`` that a target run attends to.
    """

    target: Mapping[int, float]
    draft: Mapping[int, float]
    attention_per_token: float = 0.0
    context: int = 128

    def target_run(self, rows: int) -> float:
        """Cost of a target run over ``rows`` rows of one sequence."""
        return interpolate(self.target, rows)

    def draft_step(self, requests: int) -> float:
        """Cost of one draft step for ``requests`` requests; 0 for none."""
        return interpolate(self.draft, requests) if requests else 0.0

    def attention(self, cached: int) -> float:
        """What a run over sequences of ``cached`` tokens in all costs beyond `target_run`."""
        return self.attention_per_token * max(0, cached - self.context)


def interpolate(measured: Mapping[int, float], at: int) -> float:
    """Linear between measured points, beyond the last one with the slope of the last two; a single one is constant."""
    points = sorted(measured)
    if len(points) == 1:
        return measured[points[0]]
    right = min(max(bisect_left(points, at), 1), len(points) - 1)
    low, high = points[right - 1], points[right]
    return measured[low] + (measured[high] - measured[low]) * (at - low) / (high - low)


def measure_costs(
    target: LanguageModel, draft: LanguageModel, rows: Sequence[int] = ROWS, context: int = 128, repeats: int = 9
) -> tuple[StepCosts, float]:
    """Measure by interleaved repeats behind ``context`` cached tokens, and believe the least: others only ever add.

    The models' caches need a free slot each, and more of them show what a batch costs; row counts that
    the target's cache cannot hold are left out. What is written there is dropped again.

    Returns:
        The costs, and the milliseconds of one target run over one row, which they are relative to.
    """
    sequences = min(8, target.cache.num_free)
    batches = sorted({1, min(8, draft.cache.num_free)})
    target_slots, draft_slots = (
        _filled_slots(target, context, sequences),
        _filled_slots(draft, context, batches[-1]),
    )
    held = target.cache.lengths[target_slots[0]]
    wide: dict[int, list[float]] = {n: [] for n in rows if n <= target.cache.max_length - held}
    together: list[float] = []
    drafting: dict[int, list[float]] = {n: [] for n in batches}
    for _ in range(repeats):
        for n, seconds in wide.items():
            seconds.append(_timed(target, [Span(target_slots[0], [1] * n)]))
        for _ in range(2):  # the second run finds the texts where a loop would: in the outer caches
            last = _timed(target, [Span(slot, [1]) for slot in target_slots])
        together.append(last)
        for n, seconds in drafting.items():
            target.forward([Span(target_slots[0], [1])])
            seconds.append(_timed_draft(draft, draft_slots[:n]) / _DRAFT_STEPS)
    for model, slots in ((target, target_slots), (draft, draft_slots)):
        for slot in slots:
            model.cache.release(slot)
    one = min(wide[1])
    in_order = accumulate((min(seconds) / one for seconds in wide.values()), max)  # noise must not make rows free
    alone = dict(zip(wide, in_order, strict=True))
    surplus = max(0.0, min(together) / one - interpolate(alone, sequences))
    costs = StepCosts(
        target=alone,
        draft={n: min(seconds) / one for n, seconds in drafting.items()},
        attention_per_token=surplus / ((sequences - 1) * held) if sequences > 1 else 0.0,
        context=held,
    )
    return costs, one * 1e3


def _timed(model: LanguageModel, spans: Sequence[Span]) -> float:
    _settle(model)
    began = perf_counter()
    model.forward(spans)
    _settle(model)
    return perf_counter() - began


def _settle(model: LanguageModel) -> None:
    """Wait for whatever a device still has to do."""
    if model.cache.keys.is_cuda:
        torch.cuda.synchronize(model.cache.keys.device)


def _timed_draft(draft: LanguageModel, slots: Sequence[int]) -> float:
    """A proposal as the loop asks for it; forgotten afterwards."""
    held = draft.cache.lengths[slots[0]]
    began = perf_counter()
    draft.draft([Span(slot, [1]) for slot in slots], [_DRAFT_STEPS] * len(slots))
    took = perf_counter() - began
    for slot in slots:
        draft.cache.rollback(slot, held)
    return took


def _filled_slots(model: LanguageModel, context: int, count: int) -> list[int]:
    """Slots that all hold the same ``context`` tokens, or fewer in a short cache; read once."""
    first, *others = slots = [model.cache.allocate() for _ in range(count)]
    length = min(context, model.cache.max_length // 2, model.cache.max_length - _DRAFT_STEPS)
    model.forward([Span(first, [1] * length, logits_from=length)])
    model.cache.commit(first, range(length))
    for slot in others:
        model.cache.copy(first, slot)
    return slots


def seconds_for_rows(model: LanguageModel, rows: Sequence[int], context: int = 128) -> dict[int, float]:
    """A quick look: by rows, the least of a few runs of one sequence behind ``context`` tokens."""
    (slot,) = _filled_slots(model, context, 1)
    times: dict[int, list[float]] = {n: [] for n in rows}
    for _ in range(_FEW):
        for n, seconds in times.items():
            seconds.append(_timed(model, [Span(slot, [1] * n)]))
    model.cache.release(slot)
    return {n: min(seconds) for n, seconds in times.items()}
