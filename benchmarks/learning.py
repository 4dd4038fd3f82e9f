"""`polydraft bench learning`: what clients notice of drafts that learn and change while they are served."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from benchmarks.load import Round, p99, play_round
from benchmarks.pictures import BLUE, ORANGE, canvas
from benchmarks.prompts import LONGEST, load_prompts
from benchmarks.results import Report, Row, command_line, shown_with_spread, with_spread, yes_no
from benchmarks.second_versions import double_versions
from configs.background import stand_back
from configs.errors import ConfigError
from registry.aliases import AliasMoved
from registry.names import CHAMPION
from registry.section import RegistrySection
from registry.store import Registry
from serving.client import running_server
from serving.config import Deployment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUIET, LEARNING, _WARMING = "quiet", "learning", "warming"
_WARM_UP = 2  # rounds before the first one counts: the learner needs traces to have something to do


@dataclass
class Found:
    """What was seen: rounds by what went on beside them, and what that was in the learning ones."""

    rounds: dict[str, list[Round]] = field(default_factory=lambda: {QUIET: [], LEARNING: [], _WARMING: []})
    swaps: int = 0  # champions that changed
    busy_seconds: float = 0.0  # of the learner on a core


COLUMNS = {
    "meanwhile": lambda row: row["method"],
    "requests": lambda row: str(row["requests"]),
    "tokens": lambda row: str(row["tokens"]),
    "tokens/s": lambda row: f"{row['tokens_per_second']:.0f}",
    "between blocks p50": lambda row: f"{row['between_blocks_p50'] * 1e3:.2f} ms",
    "between blocks p99": lambda row: f"{row['between_blocks_p99'] * 1e3:.2f} ms",
    "p99 over quiet": lambda row: shown_with_spread(row, "p99_over_quiet", unit="x"),
    "versions that took over": lambda row: str(row["swaps"]),
    "learner's CPU": lambda row: f"{row['learner_cpu']:.0%} of a core",
    "same": lambda row: yes_no(row["identical"]),
}


def run_learning(
    source: Path | None, clients: int, requests: int, tokens: int, repeats: int, swap_seconds: float
) -> Report:
    """The same prompts with nothing else going on, and while a trainer works and champions change.

    The starter is imported into a registry of its own; every topic has two versions whose weights differ, and a
    process moves an alias every ``swap_seconds``. The trainer is `polydraft learn`, told to mind no load.

    Raises:
        ConfigError: too few prompts.
    """
    prompts = load_prompts(source, requests * (repeats + _WARM_UP), LONGEST)
    if len(prompts) < requests * (repeats + _WARM_UP):
        raise ConfigError(f"{len(prompts)} prompts are too few", do="pass more with --prompts, or lower --repeats")
    found = Found()
    with tempfile.TemporaryDirectory(prefix="polydraft-") as place:
        deployment = _deployment(Path(place), requests)
        double_versions(deployment)
        with (
            running_server(deployment) as url,
            learner_beside(deployment, Path(place), url) as learner,
            _swapper(deployment.registry, swap_seconds) as (swapping, moved),
            Progress(transient=True) as progress,
        ):
            task = progress.add_task("learning", total=2 * repeats + _WARM_UP)
            for turn in range(repeats + _WARM_UP):
                mine = prompts[turn * requests : (turn + 1) * requests]
                for kind in _kinds(turn):
                    (swapping.set if kind == LEARNING else swapping.clear)()
                    os.kill(learner.pid, signal.SIGSTOP if kind == QUIET else signal.SIGCONT)
                    before, worked = moved.value, cpu_seconds(learner)
                    played = asyncio.run(play_round(url, deployment.model_name, tokens, mine, "routed", clients))
                    found.rounds[kind].append(played)
                    if kind == LEARNING:
                        found.swaps += moved.value - before
                        found.busy_seconds += cpu_seconds(learner) - worked
                    progress.advance(task)
            os.kill(learner.pid, signal.SIGCONT)
    return Report(
        name="learning",
        command=command_line(
            "learning",
            prompts=source,
            clients=clients,
            requests=requests,
            tokens=tokens,
            repeats=repeats,
            swap_seconds=swap_seconds,
        ),
        rows=learning_rows(found),
        columns=COLUMNS,
        draw=draw_learning,
        notes=[
            "Traces are kept in both; the trainer is stopped in quiet rounds.",
            "It and whoever moves the aliases stand back (configs/background.py).",
        ],
    )


def _kinds(turn: int) -> tuple[str, ...]:
    """What goes on beside the rounds of a turn; who comes first takes turns."""
    if turn < _WARM_UP:
        return (_WARMING,)
    return (QUIET, LEARNING) if turn % 2 else (LEARNING, QUIET)


def learning_rows(found: Found) -> list[Row]:
    """Quiet and learning, side by side; ratios are taken round by round."""
    seconds = sum(each.seconds for each in found.rounds[LEARNING])
    return [
        {**_row(found.rounds, QUIET), "swaps": 0, "learner_cpu": 0.0},
        {**_row(found.rounds, LEARNING), "swaps": found.swaps, "learner_cpu": found.busy_seconds / seconds},
    ]


def _row(rounds: dict[str, list[Round]], kind: str) -> Row:
    mine, quiet = rounds[kind], rounds[QUIET]
    gaps = [gap for each in mine for stream in each.streams for gap in stream.gaps]
    pairs = list(zip(quiet, mine, strict=True))
    return {
        "topic": "all",
        "method": kind,
        "requests": sum(len(each.streams) for each in mine),
        "tokens": sum(each.tokens for each in mine),
        "tokens_per_second": median(each.tokens / each.seconds for each in mine),
        "between_blocks_p50": median(gaps),
        "between_blocks_p99": p99(gaps),
        **with_spread("p99_over_quiet", [_p99_of(b) / _p99_of(a) for a, b in pairs]),
        "identical": all([s.text for s in a.streams] == [s.text for s in b.streams] for a, b in pairs),
    }


def _p99_of(each: Round) -> float:
    return p99([gap for stream in each.streams for gap in stream.gaps])


def _deployment(place: Path, requests: int) -> Deployment:
    return Deployment.model_validate(
        {
            "registry": {"uri": f"sqlite:///{place}/mlflow.db", "poll_seconds": 0.5},
            "traces": {"enabled": True, "folder": str(place / "traces"), "segment_seconds": 1},
            "learning": {
                "enabled": True,
                "every_requests": max(1, requests // 8),
                "steps": 100_000,  # more than it will come to: the trainer is to work all the time
                "max_utilisation": 1.0,
            },
        }
    )


@contextmanager
def learner_beside(deployment: Deployment, place: Path, url: str) -> "Iterator[subprocess.Popen[bytes]]":
    file = place / "learning.yaml"
    file.write_text(deployment.to_yaml(), encoding="utf-8")
    command = [sys.executable, "-m", "polydraft", "learn", str(file), "--server", url]
    with (place / "learner.log").open("wb") as log:
        # A session of its own: then it needs no child for standing back, and can be stopped by its number.
        place_of_code = Path(__file__).parents[1]
        learner = subprocess.Popen(command, cwd=place_of_code, stdout=log, stderr=log, start_new_session=True)
    try:
        yield learner
    finally:
        learner.kill()
        learner.wait()


@contextmanager
def _swapper(section: RegistrySection, every_seconds: float) -> "Iterator[tuple[Event, Any]]":
    context = get_context("spawn")
    swapping, moved = context.Event(), context.Value("i", 0)
    process = context.Process(target=_swap_forever, args=(section, every_seconds, swapping, moved), daemon=True)
    process.start()
    try:
        yield swapping, moved
    finally:
        process.kill()
        process.join()


def _swap_forever(section: RegistrySection, every_seconds: float, swapping: Event, moved: Any) -> None:
    os.setsid()  # whoever promotes sits elsewhere: what it costs to tell MLflow is not the server's
    stand_back()
    registry, version = Registry.open(section), 1
    models = [summary.model for summary in registry.list_models() if "-draft-" in summary.model]
    models = [model for model in models if len(registry.list_models(model)[0].versions) > 1]
    while True:
        version = 3 - version
        for model in models:
            swapping.wait()
            time.sleep(every_seconds)
            with suppress(AliasMoved):  # a canary was faster
                registry.set_alias(model, CHAMPION, version, expected_current=3 - version)
                moved.value += 1


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def draw_learning(rows: Sequence[Row]) -> "Figure":
    """Median and p99 between two blocks, quiet and learning."""
    figure, (axes,) = canvas(width=5)
    for place, (row, colour) in enumerate(zip(rows, (BLUE, ORANGE), strict=True)):
        values = [row["between_blocks_p50"] * 1e3, row["between_blocks_p99"] * 1e3]
        axes.bar([x + 0.4 * (place - 0.5) for x in range(2)], values, width=0.4, color=colour, label=row["method"])
    axes.set_xticks(range(2), ["p50", "p99"])
    axes.set_ylabel("between two blocks, ms")
    axes.legend(frameon=False)
    return figure
