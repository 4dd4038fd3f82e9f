"""`polydraft bench soak`: minutes of everything at once, and whether anything breaks, differs or grows."""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.asking import Answer, Asked, Question, client_of, meet
from benchmarks.learning import cpu_seconds, learner_beside
from benchmarks.pictures import BLUE, GREEN, GREY, ORANGE, PINK, YELLOW, canvas
from benchmarks.processes import Flat, Series, Watcher, children, trend
from benchmarks.prompts import load_prompts
from benchmarks.results import Report, Row, command_line, yes_no
from benchmarks.second_versions import double_versions
from benchmarks.swaps import Swapper
from configs.console import hint
from configs.errors import ServerError
from decoding.proposal import MAX_DRAFT_TOKENS
from registry.names import draft_model
from serving.client import running_server
from serving.config import Deployment
from serving.deployment import open_registry
from serving.wire import AUTO, NONE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_KEPT = 20
_REST_SECONDS, _MOST_RESTS = 3.0, 20  # for the audit, in the end
_TOLD = ("audit", "traces", "status", "reasons")  # of /health
_SAMPLED = 4  # every so many prompts are sampled, too
_SAMPLES = 600  # at most, of memory and files
_RESIDENT = Flat(nothing=0.5, limit=30.0)  # MiB, MiB an hour
_FILES = Flat(nothing=1.0, limit=6.0)  # descriptors, descriptors an hour
_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, GREY)
_KINDS = {"whole": 0.66, "left": 0.16, "sampled": 0.06, "malformed": 0.12}

_MALFORMED = (
    b"",
    b"{",
    b"[]",
    b"\xff\xfe\x00",
    b"[" * 5000,
    b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "starter"}',
    b'{"model": "starter", "messages": []}',
    b'{"model": "starter", "messages": [{"role": "user", "content": "x"}], "temperature": -1}',
    b'{"model": "starter", "messages": [{"role": "user", "content": "x"}], "n": 99}',
    b'{"model": "starter", "messages": [{"role": "user", "content": "x"}], "draft": "nobody"}',
    b'{"model": "starter", "messages": [{"role": "user", "content": "x"}], "max_tokens": "many", "stream": true}',
    b'{"model": "starter", "messages": [{"role": "user", "content": "' + b"long " * 5000 + b'"}]}',
)

COLUMNS = {
    "process": lambda row: row["process"],
    "resident, MiB": lambda row: f"{row['resident_first']:.0f} > {row['resident_last']:.0f}",
    "last half, MiB/h ± error": lambda row: f"{row['resident_slope']:+.2f} ± {row['resident_error']:.2f}",
    "gained, MiB": lambda row: f"{row['resident_growth']:+.2f}",
    "files": lambda row: f"{row['files_first']} > {row['files_last']}",
    "files/h ± error": lambda row: f"{row['files_slope']:+.2f} ± {row['files_error']:.2f}",
    "flat": lambda row: yes_no(row["flat"]),
}


@dataclass
class Soaked:
    """What clients met."""

    requests: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)  # that were not the client's own; the first few
    num_errors: int = 0
    mismatches: int = 0
    tokens: int = 0

    def blame(self, what: str) -> None:
        """An error that is not the client's own."""
        self.num_errors += 1
        if len(self.errors) < _MOST_KEPT:
            self.errors.append(what[:300])


def run_soak(
    source: Path | None, minutes: float, concurrency: int, tokens: int, per_topic: int, swap_seconds: float
) -> Report:
    """Cancellations, malformed requests, swaps and the online trainer, for ``minutes``, on the starter.

    Every greedy answer is compared with the target's own, token by token, which was asked for before; so is every
    answer that a client left, as far as it came, and every sampled one with itself.
    """
    prompts = [prompt.text for prompt in load_prompts(source, per_topic)]
    found, before = Soaked(), children()
    with tempfile.TemporaryDirectory(prefix="polydraft-") as place:
        deployment = soak_deployment(Path(place))
        double_versions(deployment)
        with running_server(deployment) as url:
            (leader,) = children() - before
            with (
                learner_beside(deployment, Path(place), url) as learner,
                Swapper(deployment, swap_seconds) as swapper,
                Watcher(leader, max(0.5, minutes * 60 / _SAMPLES)) as watcher,
            ):
                versions = num_versions(deployment)
                health = asyncio.run(soak(url, found, prompts, tokens, concurrency, minutes * 60))
                busy = cpu_seconds(learner)
            learned = {"learned": num_versions(deployment) - versions, "learner_seconds": busy}
    return soak_report(
        found,
        list(watcher.series.values()),
        {"swaps": swapper.moved, **learned, **{key: health[key] for key in _TOLD}},
        command_line(
            "soak", prompts=source, minutes=minutes, concurrency=concurrency, tokens=tokens, swap_seconds=swap_seconds
        ),
    )


def num_versions(deployment: Deployment) -> int:
    """Of all drafts in the registry, promoted or refused."""
    models = open_registry(deployment).list_models(draft_model(deployment.name, ""))
    return sum(len(model.versions) for model in models)


def soak_deployment(place: Path) -> Deployment:
    """The starter with a registry of its own, traces, and a trainer that minds no load."""
    return Deployment.model_validate(
        {
            "registry": {"uri": f"sqlite:///{place}/mlflow.db", "poll_seconds": 0.5},
            "traces": {"enabled": True, "folder": str(place / "traces"), "segment_seconds": 5, "max_mb": 32},
            "learning": {"enabled": True, "every_requests": 50, "max_utilisation": 1.0},
            "serving": {"audit_share": 0.1},
        }
    )


async def soak(
    url: str, found: Soaked, prompts: Sequence[str], tokens: int, concurrency: int, seconds: float
) -> dict[str, Any]:
    """Fill ``found`` for so long; what /health says once the audit has caught up."""
    async with client_of(url) as client:
        server = await meet(client)
        references = {}
        for number, prompt in enumerate(prompts):
            plain, drawn = Question(prompt, tokens), Question(prompt, tokens, seed=number)
            for question in (plain, drawn) if number % _SAMPLED == 0 else (plain,):
                references[question] = await server.ask(question)
        hint(f"{len(references)} answers of the target alone; now {seconds / 60:g} minutes of everything")
        until = time.monotonic() + seconds
        await asyncio.gather(*(_client(server, found, references, until, number) for number in range(concurrency)))
        return await _rested(client)


async def _rested(client: httpx.AsyncClient) -> dict[str, Any]:
    """/health when the audit finds nothing more to do, which it does only while nobody asks."""
    health: dict[str, Any] = {}
    for _ in range(_MOST_RESTS):
        before, health = health, (await client.get("/health")).json()
        if health == before:
            break
        await asyncio.sleep(_REST_SECONDS)
    return health


async def _client(server: Asked, found: Soaked, references: dict[Question, Answer], until: float, number: int) -> None:
    """One user after another, until the time is over."""
    draws, plain = random.Random(number), [each for each in references if each.seed is None]
    sampled = [each for each in references if each.seed is not None]
    while time.monotonic() < until:
        (kind,) = draws.choices(list(_KINDS), list(_KINDS.values()))
        found.requests[kind] += 1
        try:
            if kind == "malformed":
                await _offend(server.client, found, draws)
                continue
            reference = draws.choice(sampled if kind == "sampled" else plain)
            question = reference if kind == "sampled" else _with_draft(reference, server.drafts, draws)
            leave_after = draws.randint(1, max(1, reference.tokens - 1)) if kind == "left" else None
            answer = await server.ask(question, leave_after)
        except ServerError as error:
            found.blame(f"{kind}: {error}")
            continue
        found.tokens += len(answer.token_ids)
        expected = references[reference].token_ids
        same = answer.token_ids == (expected if answer.is_whole else expected[: len(answer.token_ids)])
        found.mismatches += not same


def _with_draft(question: Question, drafts: Sequence[str], draws: random.Random) -> Question:
    draft = draws.choice((AUTO, AUTO, AUTO, NONE, *drafts))
    length = draws.randint(1, MAX_DRAFT_TOKENS) if draft in drafts else None
    return Question(question.prompt, question.tokens, draft, length, may_trace=True)


async def _offend(client: httpx.AsyncClient, found: Soaked, draws: random.Random) -> None:
    body = draws.choice(_MALFORMED)
    try:
        response = await client.post("/v1/chat/completions", content=body)
        error = response.json()["error"]
    except (httpx.HTTPError, ValueError, KeyError) as problem:
        found.blame(f"malformed: {problem!r} to {body[:80]!r}")
        return
    if not 400 <= response.status_code < 500 or set(error) != {"message", "type", "param", "code"}:
        found.blame(f"malformed: {response.status_code} to {body[:80]!r}")


def soak_report(found: Soaked, series: Sequence[Series], facts: dict[str, Any], command: str) -> Report:
    """A row a process; ``passed`` if nothing broke, differed or grew."""
    rows = [soak_row(each) for each in series if len(each.times) > 1]
    passed = not found.num_errors and not found.mismatches and all(row["flat"] for row in rows)
    counts = {"requests": dict(found.requests), "tokens": found.tokens, "errors": found.num_errors}
    asked = ", ".join(f"{count} {kind}" for kind, count in sorted(found.requests.items()))
    return Report(
        name="soak",
        command=command,
        rows=rows,
        columns=COLUMNS,
        draw=draw_soak,
        notes=[
            f"{sum(found.requests.values())} requests ({asked}), {found.tokens} tokens, {facts['swaps']} swaps, "
            f"{facts['learned']} versions learned meanwhile in {facts['learner_seconds']:.0f} s of processor time.",
            f"Errors that were not the client's own: {found.num_errors}. Answers unlike plain decoding: "
            f"{found.mismatches}. Audit: {facts['audit']}.",
            f"Flat: in the last half no more than {_RESIDENT.nothing:g} MiB gained, or a slope that is not above 0 "
            f"(least squares over ten block means, one-sided, 2.5 %) and at most {_RESIDENT.limit:g} MiB/h; of files "
            f"{_FILES.nothing:g} and {_FILES.limit:g}/h.",
            *found.errors,
        ],
        facts={**counts, "mismatches": found.mismatches, **facts, "passed": passed},
    )


def soak_row(series: Series) -> Row:
    """Trends of one process."""
    resident, files = trend(series.times, series.resident), trend(series.times, [float(n) for n in series.files])
    return {
        "process": series.name,
        "resident_first": series.resident[0],
        "resident_last": series.resident[-1],
        "resident_slope": resident.slope,
        "resident_growth": resident.growth,
        "resident_error": resident.error,
        "files_first": series.files[0],
        "files_last": series.files[-1],
        "files_slope": files.slope,
        "files_error": files.error,
        "flat": resident.is_flat(_RESIDENT) and files.is_flat(_FILES),
        "series": {"seconds": series.times, "resident": series.resident, "files": series.files},
    }


def draw_soak(rows: Sequence[Row]) -> "Figure":
    """Memory and files of every process over time."""
    figure, panels = canvas(2, width=11)
    for axes, key, label in zip(panels, ("resident", "files"), ("resident, MiB", "open files"), strict=True):
        for row, colour in zip(rows, _COLOURS * len(rows), strict=False):
            minutes = [second / 60 for second in row["series"]["seconds"]]
            axes.plot(minutes, row["series"][key], color=colour, linewidth=1.2, label=row["process"])
        axes.set_xlabel("minutes")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    panels[0].legend(frameon=False)
    return figure
