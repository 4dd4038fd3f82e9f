"""`polydraft topics propose | accept | split | merge`: topics come and go."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import AsJson, ConfigFile, Output
from commands.topic_place import WORK, Data, Place, Traces, Work, command_of, open_place
from configs.console import EXIT_NO, emit, hint, table
from configs.errors import ConfigError

if TYPE_CHECKING:
    from training.topics.accepting import Known
    from training.topics.changing import Changed
    from training.topics.traffic import Traffic


def propose(
    traces: Traces = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with out_of_scope.jsonl: what known foreign prompts look like."),
    ] = None,
    dismiss: Annotated[str | None, typer.Option(help="Answer no to a proposal; its like is not raised again.")] = None,
    work: Work = WORK,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Look for new topics among the requests that the router rejects; exit code 0 if a proposal is open, else 1."""
    place = open_place(config)
    if dismiss is not None:
        known = place.proposals.read()
        place.proposals.write(known.settled(known.named(dismiss).name, "dismissed"))
    else:
        place.scout(place.traces(traces), data, work).look()
    found = place.proposals.read().open
    if as_json or output:
        emit({"proposals": [each.document() for each in found]}, output)
    if not as_json:
        table(
            ["proposal", "requests", "of rejected", "share", "by chance", "p", "words"],
            [
                [
                    each.name,
                    str(each.requests),
                    str(each.rejected),
                    f"{each.share:.0%}",
                    f"{each.base:.0%}",
                    f"{each.p_value:.1g}",
                    " ".join(each.words),
                ]
                for each in found
            ],
        )
        if found:
            hint(f"Make it a topic: polydraft topics accept {found[0].name} --name NAME")
    raise typer.Exit(0 if found else EXIT_NO)


def accept(
    proposal: Annotated[str, typer.Argument(help="As polydraft topics propose calls it.")],
    name: Annotated[
        str | None, typer.Option(help="What the topic is to be called; without it, as the proposal.")
    ] = None,
    traces: Traces = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with prompts of every topic and out_of_scope.jsonl; without it, traces."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of the draft.")] = 960,
    work: Work = WORK,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Make a proposal a topic: a draft of its own and a router that knows it, both serving; 1 if others would lose."""
    place = open_place(config)
    from drafts.pool import GENERAL
    from training.topics.accepting import accept as do_accept
    from training.topics.accepting import known_from_data
    from training.topics.sources import log_of

    found = place.proposals.read().named(proposal)
    folder = place.traces(traces)
    scout = place.scout(folder, data, work)
    workshop = place.workshop(work, command_of(f"accept {proposal}", name=name, traces=traces, data=data), steps)
    known = None if data is None else known_from_data(data, scout.router.topics)
    log = log_of(place.source, folder)
    changed = do_accept(workshop, scout, found, name or found.name, place.parent(GENERAL), known, log)
    _show(place, changed, as_json, output)


def split(
    topic: Annotated[str, typer.Argument(help="The topic to divide.")],
    names: Annotated[str | None, typer.Option(help="Of the two new topics, separated by a comma.")] = None,
    traces: Traces = None,
    data: Data = None,
    limit: Annotated[int, typer.Option(min=1, help="Answers to learn from, at most.")] = 2400,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each draft.")] = 960,
    work: Work = WORK,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Two topics in place of one: its clusters, each with a draft from its draft; 1 if other topics would lose."""
    place = open_place(config)
    from training.topics.accepting import split as do_split

    first, _, second = (names or f"{topic}-1,{topic}-2").partition(",")
    workshop = place.workshop(work, command_of(f"split {topic}", names=names, traces=traces, data=data), steps)
    known, log = _material(place, [topic], traces, data, limit, work)
    changed = do_split(workshop, topic, (first, second), log[topic], place.parent(topic), known)
    _show(place, changed, as_json, output)


def merge(
    first: Annotated[str, typer.Argument(help="A topic.")],
    second: Annotated[str, typer.Argument(help="And another one.")],
    name: Annotated[str | None, typer.Option(help="Of the new topic.")] = None,
    traces: Traces = None,
    data: Data = None,
    limit: Annotated[int, typer.Option(min=1, help="Answers to learn from, at most.")] = 2400,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of the draft.")] = 960,
    work: Work = WORK,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """One topic in place of two, its draft from the draft of the larger; 1 if other topics would lose."""
    if first == second:
        raise ConfigError(f"{first} and {second} are one topic", do="name two")
    place = open_place(config)
    from training.topics.accepting import merge as do_merge

    workshop = place.workshop(work, command_of(f"merge {first} {second}", name=name, traces=traces, data=data), steps)
    known, log = _material(place, [first, second], traces, data, limit, work)
    parents = {topic: place.parent(topic) for topic in (first, second)}
    changed = do_merge(workshop, (first, second), name or f"{first}-{second}", log, parents, known)
    _show(place, changed, as_json, output)


def _material(
    place: Place, topics: list[str], traces: Path | None, data: Path | None, limit: int, work: Path
) -> "tuple[Known, dict[str, Traffic]]":
    """Prompts that the router could be trained on, and the answers of some of its topics."""
    from training.topics.accepting import known_from_data, known_from_traces
    from training.topics.sources import log_of

    serving = place.router(place.encoder(work / "embeddings")).topics
    missing = [topic for topic in topics if topic not in serving]
    if missing:
        raise ConfigError(f"the router knows no topic {missing[0]}", do=f"use one of {', '.join(serving)}")
    if data is not None:
        each = limit // len(topics)
        answers = {topic: place.source.answered(data / f"{topic}.jsonl", each, work, hint) for topic in topics}
        return known_from_data(data, serving), answers
    folder = place.traces(traces)
    rejected = place.scout(folder, None, work).rejected()
    log = log_of(place.source, folder)
    return known_from_traces(log, serving, rejected.traffic.queries), {topic: log.of(topic) for topic in topics}


def _show(place: Place, changed: "Changed", as_json: bool, output: Path | None) -> None:
    document = changed.document()
    if as_json or output:
        emit(document, output)
    if not as_json:
        alphas = [(topic, version.label, version.figure("alpha")) for topic, version in changed.drafts.items()]
        table(
            ["topic", "draft", "alpha"],
            [[topic, label, "-" if alpha is None else f"{alpha:.3f}"] for topic, label, alpha in alphas],
        )
        if changed.promoted:
            hint(f"{changed.router.label} serves. Undo: polydraft registry rollback router")
            if not place.deployment.drafts.follow:
                hint("A running server takes new drafts up only with drafts.follow: true")
        else:
            hint(f"{changed.router.label} waits as challenger: {changed.lost:.1%} of the other topics' prompts lose")
    raise typer.Exit(0 if changed.promoted else EXIT_NO)


COMMANDS: dict[str, Callable[..., None]] = {"propose": propose, "accept": accept, "split": split, "merge": merge}
