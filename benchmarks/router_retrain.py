"""`polydraft bench router-retrain`: how long a router's training takes once its prompts are embedded."""

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pictures import BLUE, canvas
from benchmarks.results import Report, Row, command_line, shown_with_spread, with_spread
from configs.errors import CorpusError
from decoding.native.build import cache_folder
from registry.connection import connect
from registry.location import Location
from registry.store import Registry
from router.embedding_cache import CachedEncoder
from router.encoder import load_encoder
from router.held_out import read_held_out
from router.prompts import FOREIGN, as_written_text, without_stop
from router.section import RouterSection
from router.topic_router import TopicRouter
from serving.config import Deployment, deployment_of
from serving.deployment import Resolved, Resolver
from training.routing.prompts import Labelled, read_labelled, split_prompts
from training.routing.publish import Book, Wish, publish
from training.routing.retrain import Serving, Trained, retrain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOTAL = "total"
_BAR_SECONDS, _BAR_PROMPTS = 60.0, 20_000
_SEED = 0

COLUMNS = {
    "stage": lambda row: row["stage"],
    "seconds": lambda row: shown_with_spread(row, "seconds"),
    "of a processor": lambda row: shown_with_spread(row, "cpu_seconds"),
}


@dataclass(frozen=True)
class RetrainTrial:
    """What is measured.

    Attributes:
        source: labelled prompts, a file or a folder.
        count: of them that are used, as evenly over the topics as they allow, those of no topic counting as two topics.
        cache: folder of embeddings, kept; None is one in the user's cache.
    """

    source: Path
    count: int = _BAR_PROMPTS
    repeats: int = 3
    cache: Path | None = None


class Laps:
    """Seconds by stage, of the clock and of this process's processor time."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        self._began = self._last = _now()

    def __call__(self, stage: str) -> None:
        """``stage`` has ended, and the next begins."""
        now = _now()
        self.seconds[stage] = now[0] - self._last[0], now[1] - self._last[1]
        self.seconds[TOTAL] = now[0] - self._began[0], now[1] - self._began[1]
        self._last = now


def run_router_retrain(config: Path | None, trial: RetrainTrial) -> Report:
    """Embed what is not embedded yet, then do all that `router retrain` does, and time only that.

    Nothing is registered but in a registry made for the purpose. What starting Python takes is left out.

    Raises:
        CorpusError: fewer prompts than asked for, or too few of a topic.
        ConfigError: the files cannot be read.
        RouterError: the deployment's router cannot be used.
    """
    deployment = deployment_of(config)
    chosen = drawn(read_labelled(trial.source), trial.count)
    cache = trial.cache or cache_folder().parent / "embeddings"
    section = deployment.router or RouterSection()
    CachedEncoder(load_encoder(section.embedding, section.max_tokens), cache).encode(variants(chosen))
    serving = None if deployment.router is None else Resolver(deployment).resolve(section.model, "router")
    laps: list[Laps] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (data := place / "prompts.jsonl").write_text(_lines(chosen), encoding="utf-8")
        found = [_once(deployment, serving, data, cache, place / str(turn), laps) for turn in range(trial.repeats)]
        contents = {tuple(file.read_bytes() for file in sorted(folder.iterdir())) for _, folder in found}
    rows = [_row(stage, laps) for stage in laps[0].seconds if stage != TOTAL] + [_row(TOTAL, laps)]
    trained, seconds = found[-1][0], rows[-1]["seconds"]
    return Report(
        name="router-retrain",
        command=command_line(
            "router-retrain", prompts=trial.source, count=trial.count, repeats=trial.repeats, config=config
        ),
        rows=rows,
        columns=COLUMNS,
        draw=draw_stages,
        notes=_notes(trained, seconds, trial, len(contents)),
        facts={
            "prompts": {part: trained.prompts.size(part) for part in trained.prompts.parts},
            "same_bits": len(contents) == 1 if trial.repeats > 1 else None,
            "passed": None if trial.count < _BAR_PROMPTS else bool(seconds < _BAR_SECONDS),
        },
    )


def drawn(records: Sequence[Labelled], count: int) -> list[Labelled]:
    """Different prompts, ``count`` of them: from every topic alike, and twice as many of none, as far as they reach.

    Raises:
        CorpusError: there are not so many.
    """
    by_group: dict[str, dict[str, Labelled]] = {}
    for each in records:
        by_group.setdefault(each.group, {}).setdefault(" ".join(each.text.casefold().split()), each)
    queues = {group: [texts[key] for key in sorted(texts)] for group, texts in sorted(by_group.items())}
    if sum(map(len, queues.values())) < count:
        what = f"only {sum(map(len, queues.values())):,} different prompts, and {count:,} are wanted"
        raise CorpusError(what, do="pass more, or a smaller --count")
    for group, queue in queues.items():
        random.Random(f"{_SEED} {group}").shuffle(queue)
    found: list[Labelled] = []
    while len(found) < count:
        for group, queue in queues.items():
            size = min(2 if group == FOREIGN else 1, len(queue), count - len(found))
            found += [queue.pop() for _ in range(size)]
    return found


def variants(prompts: Sequence[Labelled]) -> list[str]:
    """All texts that a training asks the embeddings of."""
    other = [as_written_text(each.text) if each.group == FOREIGN else without_stop(each.text) for each in prompts]
    return [each.text for each in prompts] + other


def _once(
    deployment: Deployment, serving: Resolved | None, data: Path, cache: Path, place: Path, laps: list[Laps]
) -> tuple[Trained, Path]:
    """Train and register as `router retrain` does; the folder with the router."""
    registry = new_registry(place / "registry")
    lap = Laps()
    laps.append(lap)
    prompts = split_prompts(read_labelled(data), per_topic=None)
    lap("read and split")
    section = deployment.router or RouterSection()
    missing: list[int] = []
    own = load_encoder(section.embedding, section.max_tokens)
    encoder = CachedEncoder(own, cache, lambda _, of: missing.append(of))
    lap("model and embeddings")
    trained = retrain(prompts, encoder, _serving(serving, encoder), told=lap)
    trained.save(folder := place / "router")
    publish(Book(registry, deployment.name), trained, folder, None, Wish(False, False, "", {"seed": _SEED}))
    lap("register")
    assert not missing, "something was embedded while the clock ran"
    return trained, folder


def new_registry(folder: Path) -> Registry:
    """An empty one."""
    folder.mkdir(parents=True)
    location = Location(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"), folder, 10.0)
    return Registry(location, connect(location))


def _serving(found: Resolved | None, encoder: CachedEncoder) -> Serving | None:
    """The deployment's router, which the new one is compared with."""
    if found is None:
        return None
    return Serving.of(found.label, TopicRouter.load(found.folder, encoder), read_held_out(found.folder))


def _row(stage: str, laps: Sequence[Laps]) -> Row:
    clock, processor = zip(*(lap.seconds[stage] for lap in laps), strict=True)
    return {"stage": stage, **with_spread("seconds", clock), **with_spread("cpu_seconds", processor)}


def _notes(trained: Trained, seconds: float, trial: RetrainTrial, different: int) -> list[str]:
    parts = ", ".join(f"{trained.prompts.size(part):,} {part.replace('_', '-')}" for part in trained.prompts.parts)
    again = "the same bits every time" if different == 1 else f"{different} DIFFERENT routers"
    times = f"{trial.repeats} trainings, {again}" if trial.repeats > 1 else "one training"
    notes = [f"{trial.count:,} prompts ({parts}), embedded beforehand; {times}"]
    if trial.count >= _BAR_PROMPTS:
        under = "under" if seconds < _BAR_SECONDS else "NOT under"
        notes.append(f"{seconds:.1f} s in the median: {under} {_BAR_SECONDS:.0f} s")
    return notes


def draw_stages(rows: Sequence[Row]) -> "Figure":
    """Seconds by stage, one after the other."""
    figure, (axes,) = canvas(width=7, height=2.6)
    left = 0.0
    for place, row in enumerate(rows):
        begin = 0.0 if row["stage"] == TOTAL else left
        axes.barh(place, row["seconds"], left=begin, color=BLUE)
        left += row["seconds"]
    axes.set_yticks(range(len(rows)), [str(row["stage"]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    return figure


def _lines(prompts: Sequence[Labelled]) -> str:
    return "".join(json.dumps(_record(each)) + "\n" for each in prompts)


def _record(prompt: Labelled) -> dict[str, str]:
    split = {} if prompt.is_held_out is None else {"split": "validation" if prompt.is_held_out else "train"}
    return {"prompt": prompt.text, "topic": prompt.group, **split}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
