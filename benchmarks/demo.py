"""`polydraft demo`: seven questions through a real server and the OpenAI client, with and without speculation."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from openai import OpenAI
from rich.progress import Progress

from benchmarks.prompts import OUT_OF_SCOPE, OWN
from configs.console import hint, table
from serving.client import running_server
from serving.config import Deployment

QUESTIONS = {topic: texts[0] for topic, texts in OWN.items()}
HEADER = (
    "asked about",
    "draft",
    "sure",
    "accept",
    "tokens/run",
    "tokens",
    "plain",
    "routed",
    "speed-up",
    "same text",
    "why",
)
_TOKENS, _REPEATS = 96, 5


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed answer with the server's own figures."""

    text: str
    seconds: float
    tokens: int
    figures: dict[str, Any]


@dataclass
class DemoReport:
    """What the demo found; ``rows`` are its JSON document."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[list[str]] = field(default_factory=list)
    ready_seconds: float = 0.0


def run_demo() -> DemoReport:
    """Start the starter's server, ask all questions at once, then time them one by one, plain and routed in turn."""
    report = DemoReport()
    began = time.perf_counter()
    with Progress(transient=True) as progress:
        task = progress.add_task("starting the server", total=None)

        def waiting(what: str, _seconds: float) -> None:
            progress.update(task, description=f"waiting for {what}")

        with running_server(Deployment(), progress=waiting) as url:
            report.ready_seconds = time.perf_counter() - began
            client = OpenAI(base_url=f"{url}/v1", api_key="none")
            with ThreadPoolExecutor(len(QUESTIONS)) as threads:
                together = list(threads.map(lambda text: ask(client, text, "auto"), QUESTIONS.values()))
            progress.update(task, total=len(QUESTIONS) * _REPEATS)
            for (topic, question), first in zip(QUESTIONS.items(), together, strict=True):
                plain, routed = [], []
                for _ in range(_REPEATS):
                    plain.append(ask(client, question, "none"))
                    routed.append(ask(client, question, "auto"))
                    progress.update(task, advance=1, description=f"asking about {topic}")
                _add(report, topic, first, plain, routed)
    return report


def ask(client: OpenAI, question: str, draft: str) -> Answer:
    """One greedy answer, streamed; seconds from sending to the last token."""
    began = time.perf_counter()
    stream = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=_TOKENS,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"draft": draft},
    )
    text, tokens = "", 0
    figures: dict[str, Any] = {}
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
        figures = (chunk.model_extra or {}).get("polydraft") or figures
    return Answer(text, time.perf_counter() - began, tokens, figures)


def _add(report: DemoReport, topic: str, first: Answer, plain: list[Answer], routed: list[Answer]) -> None:
    figures = routed[-1].figures
    draft, _, version = str(figures["draft"]).partition("@")
    seconds = {"plain": median(a.seconds for a in plain), "routed": median(a.seconds for a in routed)}
    speedup = median(p.seconds / r.seconds for p, r in zip(plain, routed, strict=True))
    row = {
        "topic": None if topic == OUT_OF_SCOPE else topic,
        "draft": draft,
        "draft_version": version or None,
        "confidence": figures["confidence"],
        "reason": figures["reason"],
        "tokens": routed[-1].tokens,
        "mean_acceptance_length": figures["mean_acceptance_length"],
        "tokens_per_target_run": figures["tokens_per_target_run"],
        "speedup": round(speedup, 3),
        "identical": {answer.text for answer in (first, *plain, *routed)} == {first.text},
    }
    report.rows.append(row)
    report.lines.append(
        [
            topic.replace("_", " "),
            figures["draft"],
            f"{figures['confidence'] or 0:.2f}",
            f"{figures['mean_acceptance_length'] or 1:.2f}",
            f"{figures['tokens_per_target_run']:.2f}",
            str(routed[-1].tokens),
            f"{seconds['plain']:.2f} s",
            f"{seconds['routed']:.2f} s",
            f"{speedup:.2f}x",
            "yes" if row["identical"] else "NO",
            str(figures["reason"]).replace("_", " "),
        ]
    )


def show_demo(report: DemoReport) -> None:
    """The table for people, and what to try next."""
    hint(f"Server ready in {report.ready_seconds:.1f} s.")
    hint("Seven questions at once, then one by one, plain and routed in turn:")
    table(HEADER, report.lines)
    identical = sum(bool(row["identical"]) for row in report.rows)
    total = median(row["speedup"] for row in report.rows)
    hint(f"{identical} of {len(report.rows)} answers identical; median speed-up {total:.2f}x (batch 1, greedy)")
    hint(
        "\nTry next\n"
        "  make serve, then\n"
        "  curl -s 127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        '    -d \'{"model": "starter", "messages": [{"role": "user", "content": "How many singers do we have?"}]}\'\n'
        "  make ui                                       the drafts in MLflow\n"
        "  .venv/bin/polydraft serve configs/qwen3-8b.yaml   your own models"
    )
