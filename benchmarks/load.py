"""`polydraft bench load`: many clients of a real server at once, plain against routed, through HTTP."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from rich.progress import Progress

from benchmarks.prompts import Prompt, load_prompts
from benchmarks.workbench import machine, versions
from configs.errors import ConfigError, ServerError
from serving.client import running_server
from serving.config import deployment_of

METHODS = {"plain": "none", "routed": "auto"}


@dataclass(frozen=True, slots=True)
class Stream:
    """One streamed answer as its client saw it; times in seconds since it was sent."""

    text: str
    tokens: int
    first: float
    total: float
    gaps: list[float]


@dataclass
class Round:
    """All prompts once, ``concurrency`` at a time."""

    seconds: float
    streams: list[Stream]

    @property
    def tokens(self) -> int:
        return sum(stream.tokens for stream in self.streams)


@dataclass
class LoadReport:
    """Rounds by concurrency and method; the two methods in turn."""

    command: str
    rounds: dict[tuple[int, str], list[Round]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        rows = [self._row(concurrency, method) for concurrency, method in self.rounds]
        return {"command": self.command, "machine": machine(), "versions": versions(), "rows": rows}

    def _row(self, concurrency: int, method: str) -> dict[str, Any]:
        rounds, plain = self.rounds[concurrency, method], self.rounds[concurrency, "plain"]
        streams = [stream for each in rounds for stream in each.streams]
        gaps = [gap for stream in streams for gap in stream.gaps]
        alone = self.rounds[min(c for c, _ in self.rounds), method]
        return {
            "topic": "all",
            "method": method,
            "concurrency": concurrency,
            "requests": len(streams),
            "tokens": sum(each.tokens for each in rounds),
            "tokens_per_second": median(each.tokens / each.seconds for each in rounds),
            "tokens_per_second_per_request": median(stream.tokens / stream.total for stream in streams),
            "first_token_p50": median(stream.first for stream in streams),
            "first_token_p99": _p99([stream.first for stream in streams]),
            "between_blocks_p50": median(gaps),
            "between_blocks_p99": _p99(gaps),
            "speedup": median(p.seconds / r.seconds for p, r in zip(plain, rounds, strict=True)),
            "against_one_by_one": median(a.seconds / r.seconds for a, r in zip(alone, rounds, strict=True)),
            "identical": all(
                [s.text for s in p.streams] == [s.text for s in r.streams] for p, r in zip(plain, rounds, strict=True)
            ),
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """For people."""
        header = ["clients", "method", "requests", "tokens/s", "a request", "first token p50 / p99"]
        header += ["between blocks p50 / p99", "over plain", "over one by one", "same"]
        return header, [_line(row) for row in self.document()["rows"]]


def _line(row: dict[str, Any]) -> list[str]:
    return [
        str(row["concurrency"]),
        row["method"],
        str(row["requests"]),
        f"{row['tokens_per_second']:.0f}",
        f"{row['tokens_per_second_per_request']:.0f}",
        f"{row['first_token_p50'] * 1e3:.0f} / {row['first_token_p99'] * 1e3:.0f} ms",
        f"{row['between_blocks_p50'] * 1e3:.1f} / {row['between_blocks_p99'] * 1e3:.1f} ms",
        f"{row['speedup']:.2f}x",
        f"{row['against_one_by_one']:.2f}x",
        "yes" if row["identical"] else "NO",
    ]


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def run_load(
    config: Path | None, source: Path | None, concurrency: Sequence[int], requests: int, tokens: int, repeats: int
) -> LoadReport:
    """Greedy answers of ``tokens`` tokens at most; every concurrency decodes the same prompts, each once a round."""
    prompts = load_prompts(source, -(-requests // 6))[:requests]
    if len(prompts) < max(concurrency):
        raise ConfigError(f"{len(prompts)} prompts cannot keep {max(concurrency)} clients busy", do="raise --requests")
    deployment = deployment_of(config)
    numbers = ",".join(map(str, concurrency))
    command = (
        f"polydraft bench load --concurrency {numbers} --requests {requests} --tokens {tokens} --repeats {repeats}"
    )
    report = LoadReport(command)
    with Progress(transient=True) as progress, running_server(deployment) as url:
        task = progress.add_task("load", total=len(concurrency) * len(METHODS) * repeats)
        for _ in range(repeats):
            for clients in concurrency:
                for method, draft in METHODS.items():
                    done = asyncio.run(_round(url, deployment.model_name, prompts, draft, clients, tokens))
                    report.rounds.setdefault((clients, method), []).append(done)
                    progress.advance(task)
    report.rounds = dict(sorted(report.rounds.items()))
    return report


async def _round(url: str, model: str, prompts: Sequence[Prompt], draft: str, clients: int, tokens: int) -> Round:
    limit = asyncio.Semaphore(clients)
    # A bare HTTP client: OpenAI's own takes about as much of a small machine as the server does.
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:  # noqa: S113 (the server has a deadline)

        async def one(prompt: Prompt) -> Stream:
            async with limit:
                return await _stream(client, model, prompt.text, draft, tokens)

        began = time.perf_counter()
        streams = await asyncio.gather(*(one(prompt) for prompt in prompts))
        return Round(time.perf_counter() - began, streams)


async def _stream(client: httpx.AsyncClient, model: str, prompt: str, draft: str, tokens: int) -> Stream:
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
    gaps: list[float] = []
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise ServerError(chunk["error"]["message"])
            count = chunk["usage"]["completion_tokens"] if chunk.get("usage") else count
            piece = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
            if piece:
                now = time.perf_counter()
                gaps += [now - last] if first is not None else []
                first, last = (now - began if first is None else first), now
                text += piece
    total = time.perf_counter() - began
    return Stream(text, count, first if first is not None else total, total, gaps)
