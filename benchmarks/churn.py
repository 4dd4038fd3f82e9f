"""A step loop whose requests come, go and change their drafts while it runs: nothing of it may show in a text."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.workbench import Workbench
from decoding.device.loop import make_loop
from decoding.drafter import Drafter
from decoding.proposal import MAX_DRAFT_TOKENS
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from drafts.tree_drafter import TreeDrafter

TREES = ((3, 2, 1), (2, 2, 2, 1))
MOST_TOGETHER = 16  # requests
_NEW_MIX, _SWAP, _CANCEL = 0.05, 0.3, 0.02  # chances a step


@dataclass
class Churn:
    """What happened, in counts.

    Attributes:
        batches: steps by number of requests in them.
    """

    cancelled: int = 0
    swapped: int = 0
    batches: dict[int, int] = field(default_factory=dict)


def run_churn(
    bench: Workbench,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    rounds: int,
    finished: Callable[[int, Request], None],
    seed: int = 0,
) -> Churn:
    """Decode every prompt ``rounds`` times, ``tokens`` tokens each, greedily.

    Proposals of 1 to 12 tokens by every drafter there is, chains and trees and merged ones; batches that grow
    and shrink between 1 and 16 requests; drafts swapped in the middle of answers; requests cancelled and begun
    again.

    Args:
        finished: told the number of a prompt and its finished request.
    """
    draws, seen = random.Random(seed), Churn()
    drafters = _drafters(bench)
    loop = make_loop(bench.target, drafters, MAX_DRAFT_TOKENS)
    waiting = [number for _ in range(rounds) for number in range(len(prompts))]
    draws.shuffle(waiting)
    numbers: dict[str, int] = {}
    most = min(MOST_TOGETHER, bench.target.cache.num_free)
    mix, admitted = most, 0
    while waiting or numbers:
        if draws.random() < _NEW_MIX:
            mix = draws.randint(1, most)
        while waiting and len(numbers) < mix:
            number, admitted = waiting.pop(), admitted + 1
            numbers[str(admitted)] = number
            loop.admit(_request(str(admitted), prompts[number], tokens, draws, drafters))
        if draws.random() < _SWAP:
            loop.assign(draws.choice(list(numbers)), draws.choice([None, *drafters]))
            seen.swapped += 1
        if draws.random() < _CANCEL:
            request_id = draws.choice(list(numbers))
            loop.cancel(request_id)
            waiting.append(numbers.pop(request_id))
            seen.cancelled += 1
            continue
        seen.batches[len(numbers)] = seen.batches.get(len(numbers), 0) + 1
        for output in loop.step():
            if output.finish_reason is not None:
                finished(numbers.pop(output.request.request_id), output.request)
    return seen


def _request(
    request_id: str, prompt: Sequence[int], tokens: int, draws: random.Random, drafters: Mapping[str, Drafter]
) -> Request:
    sampling = SamplingParams(max_tokens=tokens)
    request = Request(request_id, list(prompt), sampling, SeededRandomness(0))
    request.drafter, request.num_draft_tokens = draws.choice(list(drafters)), draws.randint(1, MAX_DRAFT_TOKENS)
    return request


def _drafters(bench: Workbench) -> dict[str, Drafter]:
    """Every draft as a chain, every second one also as a tree, neighbours merged, and prompt lookup."""
    for name in bench.pool.names:
        bench.pool.select(name)
    drafters: dict[str, Drafter] = dict(bench.pool)
    models = [drafter for drafter in drafters.values() if isinstance(drafter, ModelDrafter)]
    for number, drafter in enumerate(models[::2]):
        drafters[f"tree {number}"] = TreeDrafter(drafter.model, Expansion(TREES[number % len(TREES)]))
    for number, (one, other) in enumerate(pairwise(models)):
        drafters[f"merged {number}"] = MergedDrafter({"one": one, "other": other})
    return drafters
