"""`polydraft topics`: how many drafts there should be, new topics, and whether the traffic drifts."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import AsJson, ConfigFile, Output, ReportFolder, deliver, numbers
from configs.console import hint
from configs.errors import ConfigError

if TYPE_CHECKING:
    from registry.store import Registry
    from router.embedding_cache import CachedEncoder
    from serving.config import Deployment
    from training.topics.sources import Source

app = typer.Typer(no_args_is_help=True, help="Topics from traffic: how many, new ones, drift.")

Traces = Annotated[Path | None, typer.Option("--traces", help="Folder of traces; without it, the deployment's.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of JSON lines, a file a topic; the target answers the prompts.")
]
Work = Annotated[Path, typer.Option("--work", help="Everything made is kept here; run again to resume.")]


@dataclass(frozen=True)
class Place:
    """A deployment as these commands need it."""

    deployment: "Deployment"
    registry: "Registry"
    source: "Source"

    def encoder(self, cache: Path) -> "CachedEncoder":
        """The router's embedding model; embeddings are kept in ``cache``."""
        from router.embedding_cache import CachedEncoder
        from router.encoder import load_encoder
        from router.section import RouterSection

        section = self.deployment.router or RouterSection()
        return CachedEncoder(load_encoder(section.embedding, section.max_tokens), cache)

    def traces(self, folder: Path | None) -> Path:
        """The folder of traces that was asked for, or the deployment's."""
        return folder or self.deployment.traces.path(self.deployment.name)


def _place(config: Path | None) -> Place:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is imported
    import torch
    from transformers import AutoTokenizer

    from decoding.checkpoint import fingerprint
    from serving.config import deployment_of
    from serving.deployment import Resolver, open_registry
    from training.topics.sources import Source

    torch.set_num_threads(1)
    deployment = deployment_of(config)
    target = Resolver(deployment).resolve(deployment.target.model, "target", deployment.target.revision).folder
    source = Source(target, fingerprint(target), AutoTokenizer.from_pretrained(target))
    return Place(deployment, open_registry(deployment), source)


@app.command("discover")
def discover(
    traces: Traces = None,
    data: Data = None,
    answers: Annotated[Path | None, typer.Option(help="Answers that a starter build has kept.")] = None,
    k: Annotated[str, typer.Option("--k", help="Numbers of drafts, as 1..12 or 1,2,6; 1 is always among them.")] = (
        "1..12"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions of clustering and training.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of every partition, all its drafts together.")] = (
        360
    ),
    limit: Annotated[int, typer.Option(min=1, help="Answers to learn from, at most.")] = 7200,
    tokens: Annotated[int, typer.Option(min=1, help="Of an answer to --data, at most.")] = 96,
    work: Work = Path("out/topics"),
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """How many drafts the traffic is worth: 1, 2, 3, ... clusters of it, each with a draft, on equal total compute."""
    if sum(each is not None for each in (traces, data, answers)) > 1:
        raise ConfigError("--traces, --data and --answers exclude each other", do="pass one of them, or none")
    wanted = _range(k)
    place = _place(config)
    from benchmarks.discovery import discovery_report
    from decoding.load import load_model
    from training.topics.discovery import Discovery
    from training.topics.partitions import Nursery, Spending

    if data is not None:
        train, held_out = place.source.data(data, limit, tokens, work, hint)
    elif answers is not None:
        train, held_out = place.source.answers(answers)
        train = train.at(range(0, len(train), max(1, len(train) // limit)))
    else:
        train, held_out = place.source.traces(place.traces(traces), limit)
    parent = _general(place)
    nursery = Nursery(parent, place.source.target, held_out.traces, work / "arms", Spending(steps))
    found = discovery_report(
        Discovery(
            train,
            held_out,
            place.encoder(work / "embeddings"),
            nursery,
            load_model(parent, 1, 1).num_weight_bytes,
            wanted,
            range(1, seeds + 1),
            hint,
        ),
        _command("discover", data=data, answers=answers, traces=traces, k=k, seeds=seeds, steps=steps, limit=limit),
    )
    deliver(found, report, as_json, output)


def _general(place: Place) -> Path:
    """The folder of the draft that all others go on from."""
    from drafts.pool import GENERAL
    from serving.deployment import Resolver

    general = place.deployment.drafts.general
    if general is None:
        raise ConfigError("this deployment has no general draft to go on from", do="name one under drafts.general")
    return Resolver(place.deployment).resolve(general.model, GENERAL).folder


def _range(text: str) -> list[int]:
    """``1..12`` or ``1,2,6``, with 1 in any case.

    Raises:
        ConfigError: neither.
    """
    first, dots, last = text.partition("..")
    if dots and first.isdigit() and last.isdigit() and 0 < int(first) <= int(last):
        return sorted({1, *range(int(first), int(last) + 1)})
    return sorted({1, *numbers(int, "--k", text)})


def _command(name: str, **options: object) -> str:
    """The command that repeats this one; folders go by their names."""
    words = ["polydraft", "topics", name]
    for option, value in options.items():
        if value is not None:
            words += [f"--{option}", value.name if isinstance(value, Path) else str(value)]
    return " ".join(words)
