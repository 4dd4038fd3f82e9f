"""`polydraft bench router-latency`: what a route decision takes on one core, and what it costs the first token."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.event_client import EventClient
from benchmarks.load import p99, stream_answer
from benchmarks.pictures import BLUE, GREY, canvas
from benchmarks.prompts import WARM_UP, Prompt, load_prompts
from benchmarks.results import Report, Row, command_line, shown
from drafts.pool import GENERAL
from router.encoder import SentenceEncoder
from serving.client import running_server
from serving.config import Deployment, deployment_of
from serving.routing import open_router

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from router.topic_router import TopicRouter

LENGTHS = (16, 32, 64, 128, 256)  # most tokens of a prompt, as the embedding model counts them
_ARMS = {"off": GENERAL, "on": "auto"}  # and what a request asks for
_DRAWS = 2000
_WARM_UPS = 8
_PER_TOPIC = 64
_BARS = {"route": (20.0, 60.0), "classifier": (1.0, 1.0)}  # milliseconds: p50 and p99

COLUMNS = {
    "what": lambda row: row["what"],
    "prompt tokens": lambda row: str(row["prompt_tokens"] or "-"),
    "measured": lambda row: str(row["count"]),
    "p50": lambda row: f"{row['p50_ms']:.2f} ms",
    "p99": lambda row: f"{row['p99_ms']:.2f} ms",
    "on / off": lambda row: shown(row.get("ratio"), "{:.4f}"),
    "95 %": lambda row: f"{row['ratio_low']:.4f} to {row['ratio_high']:.4f}" if "ratio" in row else "-",
}


def run_router_latency(config: Path | None, source: Path | None, decisions: int, requests: int, tokens: int) -> Report:
    """Route decisions one at a time on one thread, then a real server at batch 1, every prompt routed and not, in turn.

    Args:
        decisions: of each length of prompts.
        requests: of each arm; 0 leaves the server out.
        tokens: of an answer, at most.

    Raises:
        PolydraftError: the deployment has no router, or cannot be served.
    """
    torch.set_num_threads(1)
    deployment = deployment_of(config)
    prompts = load_prompts(source, _PER_TOPIC)
    rows = _decisions(open_router(deployment).router, prompts, decisions)
    if requests:
        rows += _first_tokens(deployment, prompts, requests, tokens)
    routes = [row for row in rows if row["what"] == "route"]
    passed = all(_within(row) for row in rows if row["what"] in _BARS)
    options = {"decisions": decisions, "requests": requests, "tokens": tokens}
    return Report(
        name="router-latency",
        command=command_line("router-latency", prompts=source, config=config, **options),
        rows=rows,
        columns=COLUMNS,
        draw=draw_latency,
        notes=[
            f"Decisions on one thread, each alone; over all lengths p50 {median(r['p50_ms'] for r in routes):.1f} ms.",
            "First token at batch 1; off: the general draft is asked for, as it serves where there is no router.",
            "on / off: median over prompts of the ratio of a prompt's two times, with a 95 % bootstrap over prompts.",
        ],
        facts={"passed": passed},
    )


def _within(row: Row) -> bool:
    p50, last = _BARS[row["what"]]
    return bool(row["p50_ms"] <= p50 and row["p99_ms"] <= last)


def _decisions(router: "TopicRouter", prompts: Sequence[Prompt], count: int) -> list[Row]:
    """Time of whole decisions by length, and of everything behind the embedding; in turns, so that all see the same."""
    encoder = router.encoder
    assert isinstance(encoder, SentenceEncoder)
    texts = {length: texts_of(prompts, length, count, encoder.count_tokens) for length in LENGTHS}
    seconds: dict[tuple[str, int], list[float]] = {}
    for turn in range(-_WARM_UPS, count):
        for length in LENGTHS:
            text = texts[length][turn % count]
            began = time.perf_counter()
            embedding = encoder.encode([text])
            middle = time.perf_counter()
            router.decide_embedded(embedding)
            ended = time.perf_counter()
            if turn >= 0:
                seconds.setdefault(("route", length), []).append(ended - began)
                seconds.setdefault(("classifier", 0), []).append(ended - middle)
    return [_row(what, length, found) for (what, length), found in sorted(seconds.items(), key=lambda item: item[0][1])]


def texts_of(prompts: Sequence[Prompt], length: int, count: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Texts of ``length`` tokens or, as words are not cut, a little less, from prompts one after the other."""
    words = [word for prompt in prompts for word in prompt.text.split()]
    sizes = [count_tokens(word) for word in words]
    texts: list[str] = []
    place = 0
    for _ in range(count):
        text: list[str] = []
        room = length - 2  # the model adds two of its own
        while room >= sizes[place % len(words)] or not text:
            text.append(words[place % len(words)])
            room -= sizes[place % len(words)]
            place += 1
        texts.append(" ".join(text))
    return texts


def _first_tokens(deployment: Deployment, prompts: Sequence[Prompt], requests: int, tokens: int) -> list[Row]:
    seconds: dict[str, list[float]] = {arm: [] for arm in _ARMS}
    with running_server(deployment) as url:
        asyncio.run(_ask_all(url, deployment.model_name, prompts, requests, tokens, seconds))
    rows = [_row(f"first token, routing {arm}", 0, seconds[arm]) for arm in _ARMS]
    ratio, low, high = paired_ratio(seconds["off"], seconds["on"], len(prompts))
    rows[1] |= {"ratio": ratio, "ratio_low": low, "ratio_high": high}
    return rows


def paired_ratio(off: Sequence[float], on: Sequence[float], num_prompts: int) -> tuple[float, float, float]:
    """Median over prompts of the routed first token's time over the other one's, and its 95 % bootstrap over prompts.

    Prompts differ in length by far more than routing can cost; in a pair's ratio that cancels.

    Args:
        off, on: seconds, pair by pair; turn t asks prompt t modulo ``num_prompts``.
    """
    ratios = np.array(on) / np.array(off)
    found = np.array([np.median(ratios[number::num_prompts]) for number in range(min(num_prompts, len(ratios)))])
    drawn = np.random.default_rng(0).integers(len(found), size=(_DRAWS, len(found)))
    low, high = np.quantile(np.median(found[drawn], axis=1), [0.025, 0.975])
    return float(np.median(found)), float(low), float(high)


async def _ask_all(
    url: str, model: str, prompts: Sequence[Prompt], requests: int, tokens: int, seconds: dict[str, list[float]]
) -> None:
    async with EventClient(url) as client:
        for arm in _ARMS.values():
            await stream_answer(client, model, WARM_UP.text, arm, tokens)
        for turn in range(requests):
            prompt = prompts[turn % len(prompts)]
            # Who is asked first changes from turn to turn, and from round to round for every prompt.
            order = 1 if (turn + turn // len(prompts)) % 2 == 0 else -1
            for arm in list(_ARMS)[::order]:
                answer = await stream_answer(client, model, prompt.text, _ARMS[arm], tokens)
                seconds[arm].append(answer.first)


def _row(what: str, length: int, seconds: Sequence[float]) -> Row:
    times = [1e3 * each for each in seconds]
    return {
        "what": what,
        "prompt_tokens": length or None,
        "count": len(times),
        "p50_ms": median(times),
        "p99_ms": p99(times),
    }


def draw_latency(rows: Sequence[Row]) -> "Figure":
    """p50 and p99 of a decision against the length of the prompt."""
    figure, (axes,) = canvas()
    routes = [row for row in rows if row["what"] == "route"]
    lengths = [row["prompt_tokens"] for row in routes]
    for key, colour in (("p50_ms", BLUE), ("p99_ms", GREY)):
        axes.plot(lengths, [row[key] for row in routes], color=colour, marker="o", label=key.partition("_")[0])
    axes.set_xlabel("tokens of the prompt")
    axes.set_ylabel("route decision, ms")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure
