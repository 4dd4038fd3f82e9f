"""How fast a GPU decodes: passes by rows, plain decoding against the memory's bandwidth, speculation against theory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from time import perf_counter

import torch

from benchmarks.forced import ForcedDrafter
from benchmarks.gpu_shapes import random_model
from benchmarks.results import Row, with_spread
from benchmarks.theory import best_length, expected_tokens, theoretical_speedup
from decoding.costs import measure_costs
from decoding.device.graphs import Graphs
from decoding.device.loop import make_loop
from decoding.device.model import DeviceModel
from decoding.device.placement import Placement
from decoding.drafter import Drafter
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams, SpeculationCounts
from decoding.span import Span
from drafts.device_drafter import DeviceDrafter

_PROMPT = 64  # tokens of a prompt
_CONTEXT = 128  # tokens before the rows of a timed pass
_BATCH = 8
_WARM_STEPS = 24  # every shape of pass has been captured by then
_COPIED_BYTES = 1 << 31
_WARM_UPS = 3


class ForcedDeviceDrafter(ForcedDrafter, DeviceDrafter):
    """A `ForcedDrafter` whose draft runs on the device."""


def bandwidth(placement: Placement, repeats: int, size: int = _COPIED_BYTES) -> float:
    """Bytes a second that a large copy reads and writes; what no decoding can exceed."""
    source = torch.empty(size, dtype=torch.uint8, device=placement.device)
    target = torch.empty_like(source)
    return 2 * size / min(timed(placement, partial(target.copy_, source), _WARM_UPS + repeats))


def pass_rows(shape: str, placement: Placement, rows: Sequence[int], repeats: int) -> list[Row]:
    """Milliseconds of a pass over some rows of one sequence, captured and eager."""
    model = random_model(shape, placement, num_slots=1)
    slot = model.cache.allocate()
    model.forward([Span(slot, [1] * _CONTEXT, logits_from=_CONTEXT)])
    model.cache.commit(slot, range(_CONTEXT))
    ways = {"captured": model.graphs, "eager": Graphs()}
    found: list[Row] = []
    for count in rows:
        spans = [Span(slot, [1] * count)]
        for name, graphs in ways.items():
            model.graphs = graphs
            times = timed(placement, partial(model.forward, spans), _WARM_UPS + repeats)[_WARM_UPS:]
            milliseconds = with_spread("value", [1e3 * each for each in times])
            what = f"{name} pass over {count} rows, ms"
            found.append({"section": "pass", "shape": shape, "what": what, "rows": count, "way": name, **milliseconds})
    return found


def plain_speed(shape: str, placement: Placement, most: float, tokens: int, repeats: int) -> list[Row]:
    """Tokens a second without drafts at batch 1, and as a share of what ``most`` bytes a second allow."""
    found: list[Row] = []
    for each in (replace(placement, exact=False), replace(placement, exact=True)):
        target = random_model(shape, each, num_slots=1)
        rates = [_decode(target, None, 0, 1, tokens, turn).rate for turn in range(1 + repeats)][1:]
        cached = target.cache.num_bytes / target.cache.keys.size(1) / target.cache.keys.size(3)  # bytes of one token
        read = target.num_weight_bytes + cached * (_PROMPT + _WARM_STEPS + tokens / 2)
        name = "exact plain" if each.exact else "plain"
        base = {"section": "plain", "shape": shape, "way": name}
        found.append({**base, "what": f"{name} tokens/s", **with_spread("value", rates)})
        share = median(rates) * read / most
        found.append({**base, "what": f"{name}, share of what the bandwidth allows", "value": share})
        del target
    return found


def forced_speed(
    shape: str, draft_shape: str, placement: Placement, alphas: Sequence[float], tokens: int, repeats: int
) -> list[Row]:
    """Speed-up at forced acceptance against the cost model, at batch 1 and, at the middle alpha, at batch 8.

    Passes are exact: random weights make many near ties, and a drafter that is right about plain decoding must be
    right about verification too.
    """
    target = random_model(shape, replace(placement, exact=True), num_slots=_BATCH)
    draft = random_model(draft_shape, placement, num_slots=_BATCH)
    costs, _ = measure_costs(target, draft)
    found: list[Row] = []
    for batch, some in ((1, alphas), (_BATCH, [sorted(alphas)[len(alphas) // 2]])):
        for alpha in some:
            length = best_length(alpha, costs)
            speedups, counts, same = [], SpeculationCounts(), True
            for turn in range(1 + repeats):
                plain = _decode(target, None, 0, batch, tokens, turn, until=(_WARM_STEPS + 2) * (length + 1) + tokens)
                drafter = ForcedDeviceDrafter(draft, alpha, plain.said)
                drafted = _decode(target, drafter, length, batch, tokens, turn)
                if turn:  # the first warms up
                    speedups.append(drafted.rate / plain.rate)
                    counts = SpeculationCounts.total([counts, drafted.counts])
                    same = same and all(plain.said[name][: len(text)] == text for name, text in drafted.said.items())
            row: Row = {
                "section": "forced",
                "shape": f"{shape} + {draft_shape}",
                "what": f"alpha {alpha:g}, k {length}, batch {batch}: speed-up",
                **with_spread("value", speedups),
                "concurrency": batch,
                "forced_alpha": alpha,
                "num_draft_tokens": length,
                "c": costs.draft_step(1),
                "w": costs.target_run(length + 1),
                "expected_tokens_per_target_run": expected_tokens(alpha, length),
                "tokens_per_target_run": counts.tokens_per_target_run,
                "alpha": counts.alpha,
                "identical": same,
            }
            if batch == 1:
                row["predicted_speedup"] = theoretical_speedup(alpha, length, costs)
                row["measured_over_predicted"] = row["value"] / row["predicted_speedup"]
            found.append(row)
    return found


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Tokens a second and counts of the timed part, and all that was said, by request."""

    rate: float
    counts: SpeculationCounts
    said: dict[str, list[int]]


def _decode(
    target: DeviceModel, drafter: Drafter | None, length: int, batch: int, tokens: int, turn: int, until: int = 0
) -> _Decoded:
    """Time ``tokens`` tokens a request, at whole steps, after some that read prompts and capture.

    Args:
        turn: picks the prompts.
        until: tokens that every request is to have in the end, the untimed ones included.
    """
    loop = make_loop(target, {} if drafter is None else {"draft": drafter}, length)
    sampling = SamplingParams(max_tokens=target.cache.max_length - _PROMPT)
    name = None if drafter is None else "draft"
    requests = [
        Request(str(number), _prompt(turn, number, target), sampling, SeededRandomness(number), drafter=name)
        for number in range(batch)
    ]
    for request in requests:
        loop.admit(request)
    for _ in range(_WARM_STEPS):
        loop.step()
    for request in requests:
        request.counts = SpeculationCounts()
    began, emitted = perf_counter(), 0
    while emitted < tokens * batch:
        emitted += sum(len(output.token_ids) for output in loop.step())
    seconds = perf_counter() - began
    counts = SpeculationCounts.total([request.counts for request in requests])
    while min(len(request.generated) for request in requests) < until:
        loop.step()
    said = {request.request_id: request.generated for request in requests}
    for request in requests:
        loop.cancel(request.request_id)
    return _Decoded(emitted / seconds, counts, said)


def _prompt(turn: int, number: int, target: DeviceModel) -> list[int]:
    return [(97 * turn + 31 * number + 7 * place) % target.config.vocab_size for place in range(_PROMPT)]


def timed(placement: Placement, function: Callable[[], object], count: int) -> list[float]:
    """Seconds of each call, the device's part included."""
    seconds = []
    for _ in range(count):
        _settle(placement)
        began = perf_counter()
        function()
        _settle(placement)
        seconds.append(perf_counter() - began)
    return seconds


def _settle(placement: Placement) -> None:
    if placement.device.type == "cuda":
        torch.cuda.synchronize(placement.device)
