"""`polydraft topics`: how many drafts there should be, new topics, and whether the traffic drifts."""

from pathlib import Path
from typing import Annotated

import typer

from commands import topic_changes
from commands.options import AsJson, ConfigFile, Output, ReportFolder, deliver, numbers
from commands.topic_place import WORK, Data, Place, Traces, Work, command_of, open_place
from configs.console import EXIT_NO, hint
from configs.errors import ConfigError
from router.decision import GENERAL

app = typer.Typer(no_args_is_help=True, help="Topics from traffic: how many, new ones, drift.")
for _name, _command in topic_changes.COMMANDS.items():
    app.command(_name)(_command)


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
    limit: Annotated[int, typer.Option(min=1, help="Answers to learn from, at most.")] = 3000,
    tokens: Annotated[int, typer.Option(min=1, help="Of an answer to --data, at most.")] = 96,
    work: Work = WORK,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """How many drafts the traffic is worth: 1, 2, 3, ... clusters of it, each with a draft, on equal total compute."""
    if sum(each is not None for each in (traces, data, answers)) > 1:
        raise ConfigError("--traces, --data and --answers exclude each other", do="pass one of them, or none")
    wanted = _range(k)
    place = open_place(config)
    from benchmarks.discovery import discovery_report
    from decoding.load import load_draft
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
            load_draft(parent, 1, 1).num_weight_bytes,
            wanted,
            range(1, seeds + 1),
            hint,
        ),
        command_of("discover", data=data, answers=answers, traces=traces, k=k, seeds=seeds, steps=steps, limit=limit),
    )
    deliver(found, report, as_json, output)


@app.command("drift")
def drift(
    traces: Traces = None,
    limit: Annotated[int, typer.Option(min=100, help="Newest traces that are looked at.")] = 6000,
    work: Work = WORK,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Whether queries or acceptance have drifted, by topic; exit code 0 if not, 1 if so."""
    place = open_place(config)
    from benchmarks.drift import drift_report
    from decoding.trace_reader import TraceReader
    from training.topics.drift import Drift
    from training.topics.lookout import note
    from training.topics.sources import log_of

    folder = place.traces(traces)
    end = TraceReader(folder).end() if traces is None else None
    log = log_of(place.source, folder, limit)
    encoder = place.encoder(work / "embeddings")
    found = drift_report(Drift(log, encoder, place.versions(), GENERAL, hint), command_of("drift", traces=traces))
    deliver(found, report, as_json, output)
    what = note(place.proposals, found.rows, end)
    raise typer.Exit(EXIT_NO if what else 0)


def _general(place: Place) -> Path:
    """The folder of the draft that all others go on from."""
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
