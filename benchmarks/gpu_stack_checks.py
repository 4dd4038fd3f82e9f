"""Whether stacked drafts say on a GPU what each of them says alone: the starter's drafts, captured and not."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.results import Row
from decoding.checkpoint import read_config, read_weights
from decoding.device.graphs import Graphs
from decoding.device.loop import make_loop
from decoding.device.model import DeviceModel
from decoding.device.placement import Placement
from decoding.device.stack import DraftStack
from decoding.drafter import Drafter
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from drafts.stacked_drafter import StackedDrafts
from serving.deployment import STARTER

_SLOTS, _LENGTH, _DRAFTED = 8, 256, 4
_GREEDY, _DRAWN = SamplingParams(), SamplingParams(temperature=1.0)
_TOLERANCE = 1e-3  # of float32 probabilities


def check_stacks(placement: Placement, tokens: int) -> list[Row]:
    """The starter's drafts, stacked and alone: drafted tokens and laws, whole answers, captured loops."""
    exact = replace(placement, dtype=torch.float32, exact=False)
    rows: list[Row] = []
    for each in (exact, replace(placement, exact=False)):
        same, worst = _against_single(each)
        name = "float32" if each is exact else "default"
        # Batched products of 16 bits round otherwise than single ones: counted, not promised.
        rows.append(_check(f"{name}: drafted tokens equal to the single draft's", same, each is not exact or same == 1))
        rows.append(_check(f"{name}: greatest difference of a law", worst, each is not exact or worst < _TOLERANCE))
    plain, drafted = (_answers(exact, tokens, is_drafted) for is_drafted in (False, True))
    same = sum(mine == theirs for mine, theirs in zip(plain, drafted, strict=True)) / len(plain)
    rows.append(_check("float32: answers with stacked drafts equal to those without", same, same == 1))
    equal = _captured_equals_eager(placement)
    rows.append(_check("captured loops of a stack with the tokens of eager ones", equal, equal == 1))
    return rows


def _against_single(placement: Placement) -> tuple[float, float]:
    """Share of equal drafted tokens, up to each chain's first difference, and the greatest difference of first laws."""
    drafts = _starter_drafts(placement)
    stack = _stack_of(drafts, placement)
    equal = total = 0
    worst = 0.0
    for turn in range(4):
        spans = [Span(place + 1, [20 + 31 * place + turn, 7], logits_from=1) for place in range(len(drafts))]
        for params in (_GREEDY, _DRAWN):
            noise = [] if params.is_greedy else [[0.1 + 0.2 * depth for depth in range(_DRAFTED)]] * len(drafts)
            places, counts = list(range(len(drafts))), [_DRAFTED] * len(drafts)
            tokens, laws = stack.draft_chains(places, spans, counts, [params] * len(drafts), noise)
            for place, draft in enumerate(drafts):
                alone, law = draft.draft_chains([spans[place]], [_DRAFTED], [params], noise[:1])
                equal += int((tokens[place] == alone[0]).long().cumprod(dim=0).sum())
                total += _DRAFTED
                if laws is not None and law is not None:
                    worst = max(worst, float((laws[place, 0] - law[0, 0]).abs().max()))
                draft.cache.rollback(place + 1, 0)
                stack.cache.rollback(place + 1, 0)
    return equal / total, worst


def _answers(placement: Placement, tokens: int, is_drafted: bool) -> list[list[int]]:
    drafts = _starter_drafts(placement)
    joint = StackedDrafts(_stack_of(drafts, placement))
    drafters: dict[str, Drafter] = {str(n): joint.drafter(model) for n, model in enumerate(joint.stack.drafts)}
    target = _starter(placement, "target")
    sampling = SamplingParams(max_tokens=tokens)
    requests = []
    for number in range(_SLOTS):
        prompt = [(37 * number + 31 * place) % 4000 + 16 for place in range(12)]
        drafter = str(number % len(drafts)) if is_drafted else None
        requests.append(Request(str(number), prompt, sampling, SeededRandomness(number), drafter=drafter))
    make_loop(target, drafters, _DRAFTED).run(requests)
    return [request.generated for request in requests]


def _captured_equals_eager(placement: Placement) -> float:
    """Share of loops whose tokens and laws are the same bits, with requests of other drafts from turn to turn."""
    drafts = _starter_drafts(placement)
    stacks = [_stack_of(drafts, placement), _stack_of(drafts, placement, Graphs())]
    same = turns = 0
    for turn in range(8):
        places = [turn % len(drafts), (turn + 3) % len(drafts)]
        spans = [Span(slot, [50 + turn * slot]) for slot in (1, 2)]
        for params in (_GREEDY, _DRAWN):
            noise = [] if params.is_greedy else [[0.3] * _DRAFTED] * 2
            found = [stack.draft_chains(places, spans, [_DRAFTED] * 2, [params] * 2, noise) for stack in stacks]
            same += _all_equal(found[0], found[1])
            turns += 1
            for stack in stacks:
                for slot in (1, 2):
                    stack.cache.rollback(slot, turn)
    return same / turns


def _all_equal(mine: tuple[Tensor, Tensor | None], theirs: tuple[Tensor, Tensor | None]) -> bool:
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a is not None and b is not None]
    return all(torch.equal(a, b) for a, b in pairs)


def _starter(placement: Placement, name: str) -> DeviceModel:
    folder = STARTER / name
    return DeviceModel(read_config(folder), read_weights(folder), _SLOTS, _LENGTH, placement)


def _starter_drafts(placement: Placement) -> list[DeviceModel]:
    names = sorted(folder.name for folder in (STARTER / "drafts").iterdir() if folder.is_dir())
    return [_starter(placement, f"drafts/{name}") for name in names]


def _stack_of(drafts: Sequence[DeviceModel], placement: Placement, graphs: Graphs | None = None) -> DraftStack:
    heads = [len(draft.config.output_token_ids or ()) or draft.config.vocab_size for draft in drafts]
    stack = DraftStack(drafts[0].config, len(drafts), _SLOTS, _LENGTH, placement, max(heads), graphs)
    for place, draft in enumerate(drafts):
        stack.exchange(place, draft.config, draft.network.weights)
    return stack


def _check(what: str, value: float, is_good: bool) -> Row:
    return {"section": "check", "shape": "starter's drafts", "what": what, "value": value, "is_good": is_good}
