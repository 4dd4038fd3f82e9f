"""`polydraft selfcheck URL`: a running server says the same with and without drafts, whatever goes on around it."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.asking import Answer, Asked, Question, client_of, meet
from benchmarks.prompts import Prompt, load_prompts
from benchmarks.swaps import Swapper
from benchmarks.workbench import machine, versions
from configs.errors import ConfigError
from decoding.proposal import MAX_DRAFT_TOKENS
from serving.config import deployment_of
from serving.wire import AUTO

_SWAP_SECONDS = 1.0
_SAMPLED = 4  # every so many prompts are also sampled
_LENGTH = 4  # of proposals in sampled answers: another length may draw other tokens
_SEED = 20_240

SAMPLED_DRAFTED = "sampled, drafted"


@dataclass(frozen=True, slots=True)
class Task:
    """A question under one of the headings, and what it is compared with; ``leaves_after`` so many tokens."""

    heading: str
    question: Question
    reference: Question
    leaves_after: int | None = None


@dataclass
class Heading:
    """One line of the table."""

    name: str
    answers: int = 0
    tokens: int = 0
    runs: int = 0
    whole_tokens: int = 0  # of the answers whose runs are known
    left: int = 0  # answers that the client did not wait for
    mismatches: list[dict[str, Any]] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """For programs."""
        per_run = self.whole_tokens / self.runs if self.runs else None
        return {
            "method": self.name,
            "requests": self.answers,
            "tokens": self.tokens,
            "tokens_per_target_run": per_run,
            "cancelled": self.left,
            "identical": not self.mismatches,
            "mismatches": self.mismatches,
        }


@dataclass
class UrlReport:
    """All headings of one check."""

    url: str
    prompts: int
    concurrency: int
    headings: dict[str, Heading] = field(default_factory=dict)
    swaps: int | None = None  # None: nobody was asked to move versions

    @property
    def passed(self) -> bool:
        return not any(heading.mismatches for heading in self.headings.values())

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        facts = {"prompts": self.prompts, "concurrency": self.concurrency, "swaps": self.swaps}
        head = {"command": f"selfcheck {self.url}", "machine": machine(), "versions": versions(), **facts}
        return {**head, "rows": [heading.row() for heading in self.headings.values()]}

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """For people: a line a heading."""
        header = ["asked", "answers", "tokens", "tokens/run", "left early", "mismatches", "smallest gap"]
        lines = []
        for row in (heading.row() for heading in self.headings.values()):
            gaps = [each["top_two_gap"] for each in row["mismatches"] if each["top_two_gap"] is not None]
            per_run = row["tokens_per_target_run"]
            lines.append(
                [
                    *(row["method"], str(row["requests"]), str(row["tokens"])),
                    f"{per_run:.2f}" if per_run else "-",
                    *(str(row["cancelled"]), str(len(row["mismatches"])), f"{min(gaps):.2e}" if gaps else "-"),
                ]
            )
        return header, lines


def run_selfcheck_url(
    url: str,
    source: Path | None,
    per_topic: int,
    tokens: int,
    repeats: int = 2,
    concurrency: int = 8,
    swap: bool = False,
    config: Path | None = None,
) -> UrlReport:
    """Ask for every plain answer alone, then for all of them in every way at once, shuffled, ``repeats`` times.

    Args:
        swap: while that goes on, move a champion of the deployment to another version, or back, every second.
        config: the deployment's file; None is the starter.

    Raises:
        ServerError: the server cannot be reached, or fails.
        ConfigError: there is nothing to ask.
    """
    prompts = load_prompts(source, per_topic)
    if not prompts:
        raise ConfigError("no prompts to check with", do="pass --prompts a file with one JSON object a line")
    report = UrlReport(url, len(prompts), concurrency)
    swapper = Swapper(deployment_of(config), _SWAP_SECONDS) if swap else None
    asyncio.run(_check(report, prompts, tokens, repeats, swapper))
    return report


async def _check(
    report: UrlReport, prompts: Sequence[Prompt], tokens: int, repeats: int, swapper: Swapper | None
) -> None:
    async with client_of(report.url) as client:
        server = await meet(client)
        tasks = list(tasks_of(prompts, tokens, server.drafts, repeats))
        if swapper is not None:  # another version draws other tokens
            tasks = [task for task in tasks if task.heading != SAMPLED_DRAFTED]
        questions = list(dict.fromkeys(task.reference for task in tasks))
        with Progress(transient=True) as progress:
            bar = progress.add_task("alone, one after another", total=len(questions) + len(tasks))
            references: dict[Question, Answer] = {}
            for question in questions:
                references[question] = await server.ask(question)
                progress.advance(bar)
            progress.update(bar, description="all at once")
            queue = iter(tasks)

            async def one() -> None:
                for task in queue:
                    answer = await server.ask(task.question, task.leaves_after)
                    heading = report.headings.setdefault(task.heading, Heading(task.heading))
                    await _compare(server, heading, task, answer, references[task.reference])
                    progress.advance(bar)

            with swapper or nullcontext():
                await asyncio.gather(*(one() for _ in range(report.concurrency)))
    report.headings = dict(sorted(report.headings.items()))
    report.swaps = swapper.moved if swapper is not None else None


def tasks_of(prompts: Sequence[Prompt], tokens: int, drafts: Sequence[str], repeats: int) -> Iterable[Task]:
    """Everything that is asked at once, shuffled, the same at every call."""
    draws, tasks = random.Random(_SEED), []
    for number, prompt in enumerate([*prompts] * repeats):
        plain = Question(prompt.text, tokens)
        draft = drafts[number % len(drafts)] if drafts else AUTO
        named = Question(prompt.text, tokens, draft, 1 + number % MAX_DRAFT_TOKENS)
        routed = Question(prompt.text, tokens, AUTO)
        tasks += [Task("no draft", plain, plain), Task("named draft", named, plain), Task("routed", routed, plain)]
        left = draws.choice((plain, named, routed))
        tasks.append(Task("left early", left, plain, draws.randint(1, max(1, tokens - 1))))
        if number % _SAMPLED == 0:
            sampled = Question(prompt.text, tokens, seed=number % len(prompts))
            tasks.append(Task("sampled, no draft", sampled, sampled))
            if drafts:
                drawn = Question(
                    prompt.text, tokens, drafts[number % len(prompts) % len(drafts)], _LENGTH, sampled.seed
                )
                tasks.append(Task(SAMPLED_DRAFTED, drawn, drawn))
    draws.shuffle(tasks)
    return tasks


async def _compare(server: Asked, heading: Heading, task: Task, answer: Answer, reference: Answer) -> None:
    heading.answers += 1
    heading.tokens += len(answer.token_ids)
    heading.left += not answer.is_whole
    if answer.is_whole:
        heading.runs += answer.runs
        heading.whole_tokens += len(answer.token_ids)
    expected = reference.token_ids if answer.is_whole else reference.token_ids[: len(answer.token_ids)]
    if answer.token_ids == expected:
        return
    pairs = zip(answer.token_ids, expected, strict=False)
    shorter = min(len(answer.token_ids), len(expected))
    position = next((index for index, (ours, theirs) in enumerate(pairs) if ours != theirs), shorter)
    gap = await server.gap_at(task.question, position) if task.question.seed is None else None
    found = {"prompt": task.question.prompt[:80], "draft": answer.draft or task.question.draft}
    heading.mismatches.append({**found, "position": position, "top_two_gap": gap})
