"""What six stacked drafts cost in one step on a GPU, against one draft and against one after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter

from benchmarks.gpu_shapes import random_model, shape_config
from benchmarks.gpu_speed import timed
from benchmarks.results import Row, with_spread
from decoding.device.loop import make_loop
from decoding.device.model import DeviceModel
from decoding.device.placement import Placement
from decoding.device.stack import DraftStack
from decoding.drafter import Drafter
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from drafts.device_drafter import DeviceDrafter
from drafts.stacked_drafter import StackedDrafts

_BATCH, _DRAFTED, _DRAFTS = 8, 4, 6
_CONTEXT = 128  # tokens before what is drafted
_PROMPT = 64
_WARM_STEPS, _STEPS = 12, 48
_WARM_UPS = 3


def stacked_steps(shape: str, draft_shape: str, placement: Placement, repeats: int) -> list[Row]:
    """What six drafts for eight requests cost, stacked and one after the other, against one draft for all eight.

    Random weights accept next to nothing, so that all ways emit equally many tokens a step.
    """
    placement = replace(placement, exact=False)
    drafts = [random_model(draft_shape, placement, num_slots=_BATCH) for _ in range(_DRAFTS)]
    stack = DraftStack(shape_config(draft_shape), _DRAFTS, _BATCH, drafts[0].cache.max_length, placement)
    for place, draft in enumerate(drafts):
        stack.exchange(place, draft.config, draft.network.weights)
    name = f"{shape} + {_DRAFTS} x {draft_shape}"
    loops = _loop_ms(drafts, stack, placement, repeats)
    rows = _rows(name, f"draft loop of {_DRAFTED} tokens for {_BATCH} requests, ms", loops)
    joint = StackedDrafts(stack)
    ways: dict[str, list[Drafter]] = {
        "one draft": [DeviceDrafter(drafts[0])],
        "one after the other": [DeviceDrafter(draft) for draft in drafts],
        "stacked": [joint.drafter(model) for model in stack.drafts],
    }
    target = random_model(shape, placement, num_slots=_BATCH)
    steps: dict[str, list[float]] = {way: [] for way in ways}
    emitted: dict[str, int] = {}
    for turn in range(1 + repeats):
        for way, drafters in ways.items():
            milliseconds, emitted[way] = _step_ms(target, drafters)
            steps[way] += [milliseconds] if turn else []  # the first turn captures
    for row in (measured := _rows(name, f"step of {_BATCH} requests, ms", steps)):
        row |= {"step_ms": row["value"], "tokens": emitted[row["way"]]}
    return rows + measured


def _loop_ms(
    drafts: Sequence[DeviceModel], stack: DraftStack, placement: Placement, repeats: int
) -> dict[str, list[float]]:
    """Milliseconds of a draft loop for all requests behind some context, by way, turn and turn about."""
    everybody = [n % _DRAFTS for n in range(_BATCH)]
    spans = [Span(slot, [1]) for slot in range(1, _BATCH + 1)]
    counts, params = [_DRAFTED] * _BATCH, [SamplingParams()] * _BATCH

    def one() -> None:
        drafts[0].draft_chains(spans, counts, params, [])

    def in_turn() -> None:
        for place, draft in enumerate(drafts):
            own = [n for n in range(_BATCH) if everybody[n] == place]
            draft.draft_chains([spans[n] for n in own], counts[: len(own)], params[: len(own)], [])

    def stacked() -> None:
        stack.draft_chains(everybody, spans, counts, params, [])

    ways: dict[str, Callable[[], None]] = {"one draft": one, "one after the other": in_turn, "stacked": stacked}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(_WARM_UPS + repeats):
        for way, run in ways.items():
            for cache in (stack.cache, *(draft.cache for draft in drafts)):
                cache.lengths[1 : _BATCH + 1] = [_CONTEXT] * _BATCH  # whatever is there is read at the same speed
            (seconds,) = timed(placement, run, 1)
            found[way] += [1e3 * seconds] if turn >= _WARM_UPS else []
    for cache in (stack.cache, *(draft.cache for draft in drafts)):
        cache.lengths[1 : _BATCH + 1] = [0] * _BATCH
    return found


def _step_ms(target: DeviceModel, drafters: Sequence[Drafter]) -> tuple[float, int]:
    """Milliseconds of a step of eight requests that are drafted for by turns, and the tokens of all timed steps."""
    loop = make_loop(target, {str(place): drafter for place, drafter in enumerate(drafters)}, _DRAFTED)
    sampling = SamplingParams(max_tokens=target.cache.max_length - _PROMPT)
    requests = []
    for number in range(_BATCH):
        prompt = [(31 * number + 7 * place) % target.config.vocab_size for place in range(_PROMPT)]
        drafter = str(number % len(drafters))
        requests.append(Request(str(number), prompt, sampling, SeededRandomness(number), drafter=drafter))
        loop.admit(requests[-1])
    for _ in range(_WARM_STEPS):
        loop.step()
    began, emitted = perf_counter(), 0
    for _ in range(_STEPS):
        emitted += sum(len(output.token_ids) for output in loop.step())
    milliseconds = 1e3 * (perf_counter() - began) / _STEPS
    for request in requests:
        loop.cancel(request.request_id)
    return milliseconds, emitted


def _rows(shape: str, what: str, times: Mapping[str, Sequence[float]]) -> list[Row]:
    """One a way, with its time over that of a single draft in the same turns."""
    single = times["one draft"]
    return [
        {
            "section": "stacks",
            "shape": shape,
            "way": way,
            "drafts": 1 if way == "one draft" else _DRAFTS,
            "concurrency": _BATCH,
            "num_draft_tokens": _DRAFTED,
            "what": f"{way}: {what}",
            **with_spread("value", list(own)),
            "over_single_draft": median(a / b for a, b in zip(own, single, strict=True)),
        }
        for way, own in times.items()
    ]
