"""A step loop whose requests come, go and change their drafts while it runs: nothing of it may show in a text."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.company import Company
from benchmarks.workbench import Workbench
from decoding.device.loop import make_loop
from decoding.proposal import MAX_DRAFT_TOKENS
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams

MOST_TOGETHER = 16  # requests
_NEW_MIX, _REASSIGN, _REPLACE, _CANCEL = 0.05, 0.3, 0.05, 0.02  # chances a step


@dataclass
class Churn:
    """What happened, in counts.

    Attributes:
        cancelled: requests, which were begun again.
        reassigned: times that a request in mid-answer got another drafter.
        replaced: times that a draft which a request was using became another version.
        batches: steps by number of requests in them.
        drafters: steps of requests by the kind of their drafter then: chain, tree, merged, lookup, none.
    """

    cancelled: int = 0
    reassigned: int = 0
    replaced: int = 0
    batches: dict[int, int] = field(default_factory=dict)
    drafters: dict[str, int] = field(default_factory=dict)


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
    and shrink between 1 and 16 requests; requests given other drafters in the middle of answers, and drafts other
    versions; requests cancelled and begun again. The pool keeps the versions that it ends with.

    Args:
        finished: told the number of a prompt and its finished request.
    """
    draws, seen = random.Random(seed), Churn()
    company = Company(bench.pool)
    loop = make_loop(bench.target, company.drafters, MAX_DRAFT_TOKENS)
    waiting = [number for _ in range(rounds) for number in range(len(prompts))]
    draws.shuffle(waiting)
    running: dict[str, tuple[int, Request]] = {}
    most = min(MOST_TOGETHER, bench.target.cache.num_free)
    mix, admitted = most, 0
    while waiting or running:
        if draws.random() < _NEW_MIX:
            mix = draws.randint(1, most)
        while waiting and len(running) < mix:
            number, admitted = waiting.pop(), admitted + 1
            request = _request(str(admitted), prompts[number], tokens, draws, list(company.drafters))
            running[request.request_id] = number, request
            loop.admit(request)
        if draws.random() < _REASSIGN:
            loop.assign(draws.choice(list(running)), draws.choice([None, *company.drafters]))
            seen.reassigned += 1
        if draws.random() < _REPLACE and (
            used := company.parts(draws.choice([r for _, r in running.values()]).drafter)
        ):
            company.replace(draws.choice(used), draws)
            seen.replaced += 1
        if draws.random() < _CANCEL:
            request_id = draws.choice(list(running))
            loop.cancel(request_id)
            waiting.append(running.pop(request_id)[0])
            seen.cancelled += 1
            continue
        _count(seen, company, [request for _, request in running.values()])
        for output in loop.step():
            if output.finish_reason is not None:
                finished(*running.pop(output.request.request_id))
    return seen


def _count(seen: Churn, company: Company, running: Sequence[Request]) -> None:
    seen.batches[len(running)] = seen.batches.get(len(running), 0) + 1
    for request in running:
        kind = company.kind(request.drafter)
        seen.drafters[kind] = seen.drafters.get(kind, 0) + 1


def _request(
    request_id: str, prompt: Sequence[int], tokens: int, draws: random.Random, drafters: Sequence[str]
) -> Request:
    sampling = SamplingParams(max_tokens=tokens)
    request = Request(request_id, list(prompt), sampling, SeededRandomness(0))
    request.drafter, request.num_draft_tokens = draws.choice(drafters), draws.randint(1, MAX_DRAFT_TOKENS)
    return request
