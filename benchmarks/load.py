"""`polydraft bench load`: many clients of a real server at once, plain against routed, through HTTP."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.progress import Progress

from benchmarks.event_client import EventClient
from benchmarks.load_loop import loop_seconds
from benchmarks.pictures import draw_load
from benchmarks.prompts import LONGEST, WARM_UP, Prompt, load_prompts
from benchmarks.results import Report, Row, command_line, shown, shown_with_spread, with_spread, yes_no
from benchmarks.tally import counted
from benchmarks.workbench import open_workbench
from configs.errors import ConfigError, ServerError
from decoding.request import Origin, SpeculationCounts
from serving.client import running_server
from serving.config import Deployment, deployment_of

METHODS = {"plain": "none", "routed": "auto"}  # and what a request asks for


@dataclass(frozen=True, slots=True)
class Stream:
    """One streamed answer as its client saw it; times in seconds since it was sent."""

    text: str
    tokens: int
    first: float
    total: float
    gaps: list[float]
    counts: SpeculationCounts = field(default_factory=SpeculationCounts)


@dataclass
class Round:
    """All prompts once, ``concurrency`` at a time."""

    seconds: float
    streams: list[Stream]

    @property
    def tokens(self) -> int:
        return sum(stream.tokens for stream in self.streams)


Rounds = dict[tuple[int, str], list[Round]]  # by clients at once and method
Seconds = dict[tuple[int, str], list[float]]  # of the same rounds in the step loop alone

COLUMNS = {
    "clients": lambda row: str(row["concurrency"]),
    "method": lambda row: row["method"],
    "requests": lambda row: str(row["requests"]),
    "tokens": lambda row: str(row["tokens"]),
    "tokens/run": lambda row: shown(row["tokens_per_target_run"]),
    "tokens/s": lambda row: f"{row['tokens_per_second']:.0f}",
    "a request": lambda row: f"{row['tokens_per_second_per_request']:.0f}",
    "first token p50 / p99": lambda row: f"{row['first_token_p50'] * 1e3:.0f} / {row['first_token_p99'] * 1e3:.0f} ms",
    "between blocks p50 / p99": lambda row: (
        f"{row['between_blocks_p50'] * 1e3:.1f} / {row['between_blocks_p99'] * 1e3:.1f} ms"
    ),
    "over plain": lambda row: shown_with_spread(row, "speedup", unit="x"),
    "of the loop": lambda row: shown(row["of_loop"], "{:.0%}"),
    "over one by one": lambda row: f"{row['against_one_by_one']:.2f}x",
    "same": lambda row: yes_no(row["identical"]),
}


def load_rows(rounds: Rounds, loop: Seconds | None = None) -> list[Row]:
    """A row for each number of clients and method; ratios are taken round by round."""
    return [_row(rounds, loop or {}, *key) for key in sorted(rounds)]


def _row(rounds: Rounds, loop: Seconds, concurrency: int, method: str) -> Row:
    mine, plain = rounds[concurrency, method], rounds[concurrency, "plain"]
    alone = rounds[min(clients for clients, _ in rounds), method]
    streams = [stream for each in mine for stream in each.streams]
    gaps = [gap for stream in streams for gap in stream.gaps] or [0.0]
    pairs = list(zip(plain, mine, strict=True))
    of_loop = [seconds / each.seconds for seconds, each in zip(loop.get((concurrency, method), []), mine, strict=False)]
    return {
        "topic": "all",
        "method": method,
        "concurrency": concurrency,
        "requests": len(streams),
        **counted(SpeculationCounts.total([stream.counts for stream in streams])),
        "tokens": sum(each.tokens for each in mine),
        "tokens_per_second": median(each.tokens / each.seconds for each in mine),
        "tokens_per_second_per_request": median(stream.tokens / stream.total for stream in streams),
        "first_token_p50": median(stream.first for stream in streams),
        "first_token_p99": p99([stream.first for stream in streams]),
        "between_blocks_p50": median(gaps),
        "between_blocks_p99": p99(gaps),
        **with_spread("speedup", [p.seconds / r.seconds for p, r in pairs]),
        "of_loop": median(of_loop) if of_loop else None,
        "against_one_by_one": median(a.seconds / r.seconds for a, r in zip(alone, mine, strict=True)),
        "identical": all([s.text for s in p.streams] == [s.text for s in r.streams] for p, r in pairs),
    }


def p99(values: Sequence[float]) -> float:
    """The 99th percentile, interpolated."""
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def run_load(
    config: Path | None, source: Path | None, concurrency: Sequence[int], requests: int, tokens: int, repeats: int
) -> Report:
    """Greedy answers of ``tokens`` tokens at most to ``requests`` requests a round.

    Every number of clients and method decodes the same prompts, each once: a round has prompts of its own.
    Clients beyond the deployment's slots wait in its queue, and their first token says how long.

    Raises:
        ConfigError: too few prompts, or more clients than slots and queue hold.
    """
    deployment = deployment_of(config)
    prompts = load_prompts(source, requests * repeats, LONGEST)
    _check(deployment, len(prompts), concurrency, requests, repeats)
    rounds: Rounds = {}
    loop: Seconds = {}
    bench = open_workbench(config)
    with Progress(transient=True) as progress, running_server(deployment) as url:
        task = progress.add_task("load", total=len(concurrency) * len(METHODS) * repeats)
        ask = partial(play_round, url, deployment.model_name, tokens)
        for method in METHODS:
            asyncio.run(ask([WARM_UP], method, 1))
        for turn in range(repeats):
            mine = prompts[turn * requests : (turn + 1) * requests]
            for clients in concurrency:
                for method in list(METHODS)[:: 1 if turn % 2 == 0 else -1]:
                    rounds.setdefault((clients, method), []).append(asyncio.run(ask(mine, method, clients)))
                    alone = loop_seconds(bench, mine, method != "plain", min(clients, bench.plan.slots), tokens)
                    loop.setdefault((clients, method), []).append(alone)
                    progress.advance(task)
    return Report(
        name="load",
        command=command_line(
            "load",
            prompts=source,
            config=config,
            concurrency=list(concurrency),
            requests=requests,
            tokens=tokens,
            repeats=repeats,
        ),
        rows=load_rows(rounds, loop),
        columns=COLUMNS,
        draw=draw_load,
        notes=[
            f"{deployment.target.slots} slots; a queue of {deployment.serving.max_queue}.",
            "Of the loop: throughput through HTTP over that of the step loop alone, which is given the same prompts, "
            "tokenised, with their drafts known.",
        ],
    )


def _check(deployment: Deployment, prompts: int, concurrency: Sequence[int], requests: int, repeats: int) -> None:
    most, room = max(concurrency), deployment.target.slots + deployment.serving.max_queue
    if requests < most:
        raise ConfigError(f"{requests} requests cannot keep {most} clients busy", do="raise --requests")
    if repeats < 1 or prompts < requests * repeats:
        raise ConfigError(
            f"{prompts} prompts cannot make {repeats} rounds of {requests} requests",
            do="pass more of them with --prompts, or lower --repeats or --requests",
        )
    if most > room:
        raise ConfigError(
            f"{most} clients are more than this deployment holds: {deployment.target.slots} slots and a queue of "
            f"{deployment.serving.max_queue}",
            do="raise target.slots or serving.max_queue",
        )


async def play_round(url: str, model: str, tokens: int, prompts: Sequence[Prompt], method: str, clients: int) -> Round:
    """All ``prompts`` once, ``clients`` at a time, decoded as ``method`` says."""
    limit = asyncio.Semaphore(clients)
    async with EventClient(url) as client:

        async def one(prompt: Prompt) -> Stream:
            async with limit:
                return await stream_answer(client, model, prompt.text, METHODS[method], tokens)

        began = time.perf_counter()
        streams = await asyncio.gather(*(one(prompt) for prompt in prompts))
        return Round(time.perf_counter() - began, streams)


async def stream_answer(client: EventClient, model: str, prompt: str, draft: str, tokens: int) -> Stream:
    """One greedy answer of ``tokens`` tokens at most, as its client sees it; ``draft`` is what the request asks for."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "draft": draft,
    }
    began = last = time.perf_counter()
    first: float | None = None
    text, count = "", 0
    figures: dict[str, Any] = {}
    gaps: list[float] = []
    async for event in client.events("/v1/chat/completions", body):
        if event == b"[DONE]":
            continue
        chunk = json.loads(event)
        if "error" in chunk:
            raise ServerError(chunk["error"]["message"])
        figures = chunk.get("polydraft") or figures
        count = chunk["usage"]["completion_tokens"] if chunk.get("usage") else count
        piece = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
        if piece:
            now = time.perf_counter()
            gaps += [now - last] if first is not None else []
            first, last = (now - began if first is None else first), now
            text += piece
    total = time.perf_counter() - began
    return Stream(text, count, first if first is not None else total, total, gaps, _counts(count, figures))


def _counts(tokens: int, figures: Mapping[str, Any]) -> SpeculationCounts:
    """A reply's own figures, as counts."""
    per_pos = figures["accepted_per_position"]
    return SpeculationCounts(
        num_target_runs=figures["num_target_runs"],
        num_drafts=figures["num_spec_steps"],
        num_draft_tokens=figures["num_draft_tokens"],
        num_copied_tokens=figures["num_copied_tokens"],
        num_accepted_tokens=figures["num_accepted_tokens"],
        num_accepted_tokens_per_pos=list(per_pos),
        num_generated_tokens=tokens,
        num_rejected_drafts=figures["origins"].get(Origin.CORRECTED.value, 0),
    )
