"""Whether a GPU says what the CPU says: the starter on both, with and without drafts, captured and not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.results import Row
from decoding.checkpoint import read_config, read_weights
from decoding.device import transfer
from decoding.device.graphs import Graphs
from decoding.device.loop import make_loop
from decoding.device.model import MOST_CAPTURED, DeviceModel
from decoding.device.placement import Placement
from decoding.device.rows import ROW_COUNTS
from decoding.drafter import Drafter
from decoding.load import load_model
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from drafts.device_drafter import DeviceDrafter
from serving.deployment import STARTER

_SLOTS, _LENGTH = 8, 256
_TARGET, _DRAFT = STARTER / "target", STARTER / "drafts" / "sql"
_TOLERANCE = 1e-3  # of float32 logits, whose spread is several units


def on(placement: Placement, folder: Path = _TARGET, graphs: Graphs | None = None) -> DeviceModel:
    """A model of the starter on a device."""
    return DeviceModel(read_config(folder), read_weights(folder), _SLOTS, _LENGTH, placement, graphs)


def check_logits(placement: Placement) -> list[Row]:
    """The greatest difference of float32 logits to the CPU's, for a chain and for a tree behind it."""
    here = load_model(_TARGET, _SLOTS + 1, _LENGTH)
    there = on(replace(placement, dtype=torch.float32))
    chain = Span(1, _prompt(0, 40))
    tree = Span(1, [5, 6, 7, 8, 9], [-1, 0, 0, -1, 2])
    worst = 0.0
    for span in (chain, tree):
        worst = max(worst, float((there.forward([span]).cpu() - here.forward([span])).abs().max()))
        for model in (here, there):
            model.cache.commit(1, range(40) if span is chain else [0, 2, 4])
    return [_row("float32 logits against the CPU, greatest difference", worst, worst < _TOLERANCE)]


def check_answers(placement: Placement, tokens: int) -> list[Row]:
    """Greedy answers: of the GPU and the CPU in float32; with and without a draft in float32, 16-bit and exact."""
    plain_here = _answers(load_model(_TARGET, _SLOTS, _LENGTH), {}, tokens)
    rows: list[Row] = []
    cases = {
        "float32": replace(placement, dtype=torch.float32, exact=False),
        "exact": replace(placement, exact=True),
        "default": replace(placement, exact=False),
    }
    for name, each in cases.items():
        plain = _answers(on(each), {}, tokens)
        drafter = DeviceDrafter(on(each, _DRAFT))
        drafted = _answers(on(each), {"draft": drafter}, tokens)
        same = _share(plain, drafted)
        # In 16 bits a pass of other rows may round a near tie the other way: counted, not promised.
        rows.append(_row(f"{name}: tokens with a draft equal to those without", same, same == 1 or name == "default"))
        if name == "float32":
            same = _share(plain_here, plain)
            rows.append(_row("float32: tokens equal to the CPU's", same, same == 1))
    return rows


def check_replays(placement: Placement) -> list[Row]:
    """Captured passes against eager ones, bit for bit, at lengths that grow and shrink between replays."""
    captured, eager = on(placement), on(placement, graphs=Graphs())
    counts = [count for count in ROW_COUNTS if count <= MOST_CAPTURED]
    equal = 0
    for start in (0, 100, 7):
        for model in (captured, eager):
            model.cache.lengths[1] = start
        for count in counts:
            spans = [Span(1, _prompt(start, count))]
            equal += torch.equal(captured.forward(spans), eager.forward(spans))
    return [_row("captured passes with the bits of eager ones", equal / (3 * len(counts)), equal == 3 * len(counts))]


def check_waits(placement: Placement) -> list[Row]:
    """Steps in which torch reports a wait for the device beside the one read at the end; it must be none."""
    drafters: dict[str, Drafter] = {"draft": DeviceDrafter(on(placement, _DRAFT))}
    loop = make_loop(on(placement), drafters, 4)
    for number, temperature in enumerate((0.0, 1.0)):
        sampling = SamplingParams(temperature=temperature, max_tokens=200)
        loop.admit(_request(number, sampling, "draft"))
    for _ in range(16):
        loop.step()
    before, waits = transfer.read, 0

    def allowed(tensor: torch.Tensor) -> list[object]:
        torch.cuda.set_sync_debug_mode("default")
        found = before(tensor)
        torch.cuda.set_sync_debug_mode("error")
        return found

    for _ in range(4):
        transfer.read = allowed
        torch.cuda.set_sync_debug_mode("error")
        try:
            loop.step()
        except RuntimeError:
            waits += 1
            break
        finally:
            torch.cuda.set_sync_debug_mode("default")
            transfer.read = before
    return [_row("steps that wait for the device before their end", waits, waits == 0)]


def _answers(target: LanguageModel, drafters: dict[str, Drafter], tokens: int) -> list[list[int]]:
    requests = [_request(n, SamplingParams(max_tokens=tokens), next(iter(drafters), None)) for n in range(2 * _SLOTS)]
    make_loop(target, drafters, 4).run(requests)
    return [request.generated for request in requests]


def _request(number: int, sampling: SamplingParams, drafter: str | None) -> Request:
    return Request(str(number), _prompt(37 * number, 12), sampling, SeededRandomness(number), drafter=drafter)


def _prompt(start: int, length: int) -> list[int]:
    return [(start + 31 * place) % 4000 + 16 for place in range(length)]


def _share(some: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> float:
    """Of the tokens, those that are equal up to each answer's first difference."""
    equal = total = 0
    for mine, theirs in zip(some, others, strict=True):
        pairs = list(zip(mine, theirs, strict=True))
        equal += next((place for place, (a, b) in enumerate(pairs) if a != b), len(pairs))
        total += len(pairs)
    return equal / total


def _row(what: str, value: float, is_good: bool) -> Row:
    return {"section": "check", "shape": "starter", "what": what, "value": value, "is_good": is_good}
