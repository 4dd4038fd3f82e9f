"""What a draft step and a wider target run cost on this machine, relative to a target run over one row."""

from collections.abc import Sequence
from statistics import median
from time import perf_counter

from decoding.controller import StepCosts
from decoding.model import LanguageModel
from decoding.span import Span

ROWS = (1, 2, 3, 5, 8, 12, 16, 24, 32, 48)
_DRAFT_STEPS = 4  # in a row: only the first finds the draft's weights outside the nearest cache, as in the loop


def measure_costs(
    target: LanguageModel, draft: LanguageModel, rows: Sequence[int] = ROWS, context: int = 128, repeats: int = 9
) -> tuple[StepCosts, float]:
    """Measure by interleaved repeats behind ``context`` cached tokens; medians, so a busy moment does little.

    The models' caches need a free slot each, and more of the draft's show what a batch costs; row counts that
    the target's cache cannot hold are left out. What is written there is dropped again.

    Returns:
        The costs, and the milliseconds of one target run over one row, which they are relative to.
    """
    batches = sorted({1, min(8, draft.cache.num_free)})
    slot, slots = _filled_slots(target, context, 1), _filled_slots(draft, context, batches[-1])
    room = target.cache.max_length - target.cache.lengths[slot[0]]
    target_seconds: dict[int, list[float]] = {n: [] for n in rows if n <= room}
    draft_seconds: dict[int, list[float]] = {n: [] for n in batches}
    for _ in range(repeats):
        for n, seconds in target_seconds.items():
            began = perf_counter()
            target.forward([Span(slot[0], [1] * n)])
            seconds.append(perf_counter() - began)
        for n, seconds in draft_seconds.items():
            target.forward([Span(slot[0], [1])])
            began = perf_counter()
            for _ in range(_DRAFT_STEPS):
                draft.forward([Span(each, [1]) for each in slots[:n]]).argmax(dim=-1).tolist()
            seconds.append((perf_counter() - began) / _DRAFT_STEPS)
    for model, taken in ((target, slot), (draft, slots)):
        for each in taken:
            model.cache.release(each)
    one = median(target_seconds[1])
    costs = StepCosts(
        target={n: median(seconds) / one for n, seconds in target_seconds.items()},
        draft={n: median(seconds) / one for n, seconds in draft_seconds.items()},
    )
    return costs, one * 1e3


def _filled_slots(model: LanguageModel, context: int, count: int) -> list[int]:
    slots = [model.cache.allocate() for _ in range(count)]
    length = min(context, model.cache.max_length // 2)
    for slot in slots:
        model.forward([Span(slot, [1] * length, logits_from=length)])
        model.cache.commit(slot, range(length))
    return slots
