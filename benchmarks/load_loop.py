"""The step loop under the load of `polydraft bench load`, without anything around it: what HTTP is measured against."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence

from benchmarks.prompts import Prompt
from benchmarks.workbench import Workbench
from decoding.device.loop import make_loop
from decoding.request import Request, SamplingParams
from drafts.pool import LOOKUP


def loop_seconds(bench: Workbench, prompts: Sequence[Prompt], is_routed: bool, clients: int, tokens: int) -> float:
    """All ``prompts`` once, greedy, ``clients`` at a time; each with its draft from the beginning if ``is_routed``."""
    ends = frozenset(() if (end := bench.tokenizer.eos_token_id) is None else (int(end),))
    sampling = SamplingParams(temperature=0.0, max_tokens=tokens, stop_token_ids=ends)
    waiting = deque(
        bench.request(
            number, bench.encode(prompt.text), bench.routed(prompt.text) if is_routed else None, sampling, is_routed
        )
        for number, prompt in enumerate(prompts)
    )
    loop = make_loop(bench.target, bench.pool, bench.lengths, companion=LOOKUP if bench.plan.prompt_lookup else None)
    running: set[str] = set()

    def admit() -> None:
        request: Request = waiting.popleft()
        running.add(request.request_id)
        loop.admit(request)

    with _own_core():
        began = time.perf_counter()
        while waiting or running:
            while waiting and len(running) < clients:
                admit()
            running -= {each.request.request_id for each in loop.step() if each.finish_reason is not None}
        return time.perf_counter() - began


@contextlib.contextmanager
def _own_core() -> Iterator[None]:
    """The highest core, as a server's step loop has it; the server idles meanwhile."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
