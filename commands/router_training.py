"""`polydraft router retrain`, `evaluate`, `compare` and `rollback`."""

import dataclasses
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.options import AsJson, ConfigFile, Output, ReportFolder, save
from commands.router_place import (
    MOST_PER_TOPIC,
    Cache,
    Costs,
    Data,
    PerTopic,
    Step,
    Traces,
    Width,
    held_out_sample,
    open_place,
    read_labels,
    read_records,
)
from configs.console import EXIT_NO, emit, hint, table
from configs.errors import ConfigError

if TYPE_CHECKING:
    from training.routing.prompts import RoutingPrompts
    from training.routing.retrain import Trained


def retrain(
    traces: Traces = None,
    data: Data = None,
    labels: Costs = None,
    kind: Annotated[str, typer.Option(help="How drafts are chosen: by topic, or a kind that learns from --labels.")] = (
        "topic"
    ),
    promote: Annotated[bool, typer.Option("--promote", help="Serve it unless it is worse.")] = False,
    promote_if_better: Annotated[bool, typer.Option("--promote-if-better", help="Serve it if it is better.")] = False,
    per_topic: PerTopic = MOST_PER_TOPIC,
    seed: Annotated[int, typer.Option(help="Which prompts to learn from, where there are more.")] = 0,
    c: Step = None,
    w: Width = None,
    cache: Cache = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Train a router, compare it with the one that serves, and register it; exit code 1 if it is no better."""
    from training.routing.prompts import split_prompts
    from training.routing.publish import Wish, publish
    from training.routing.retrain import retrain as train

    chooser = _kind(kind)
    place = open_place(config, cache)
    costs = read_labels(place, labels, c, w)
    prompts = split_prompts(read_records(place, traces, data, costs), seed, per_topic)
    hint(_counted(prompts))
    champion = place.book.champion()
    serving = None if champion is None else place.serving(champion.label)
    found = train(prompts, place.encoder, serving, labels=costs, kind=chooser, seed=seed, adjust=place.adjust)
    _show(found, as_json)
    with tempfile.TemporaryDirectory() as name:
        found.save(folder := Path(name) / "router")
        if champion is not None and _same(folder, champion.folder):
            hint(f"{champion.label} is this very router; nothing is registered")
            _answer({"version": champion.label, "promoted": False}, found, as_json, output)
            raise typer.Exit(EXIT_NO)
        params = {"per_topic": per_topic, "embedding": place.encoder.name, "fingerprint": place.encoder.fingerprint}
        command = _command(
            "retrain", traces=traces, data=data, labels=labels, kind=kind, per_topic=per_topic, seed=seed
        )
        wish = Wish(promote, promote_if_better, command, {"seed": seed, "kind": kind, **params}, place.config)
        version = publish(place.book, found, folder, champion, wish)
    is_promoted = wish.grants(found.verdict)
    if is_promoted:
        hint(f"Promoted {version.label}. Serving follows within seconds. Undo: polydraft router rollback")
    elif found.verdict.outcome.value == "worse":
        hint(f"Registered {version.label}; it does not serve")
    else:
        force = " --force" if version.tags.get("verdict") == "refused" else ""
        hint(f"Registered {version.label} as challenger. Promote: polydraft registry promote {version.label}{force}")
    _answer({"version": version.label, "promoted": is_promoted}, found, as_json, output)
    raise typer.Exit(0 if is_promoted or found.verdict.outcome.value == "better" else EXIT_NO)


def evaluate(
    version: Annotated[str, typer.Argument(help="router@v3, or champion")] = "champion",
    data: Data = None,
    labels: Costs = None,
    per_topic: PerTopic = MOST_PER_TOPIC,
    c: Step = None,
    w: Width = None,
    cache: Cache = None,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Figures of a router on the held-out prompts of --data; without, on those that it was measured on."""
    from benchmarks.router_quality import quality, quality_notes, quality_report
    from training.routing.measure import measure
    from training.routing.report import confusion, figures, lines
    from training.routing.versions import seen_by

    place = open_place(config, cache)
    router = place.serving(version)
    sample = held_out_sample(place, data, per_topic, read_labels(place, labels, c, w), router)
    found = measure(router.router, seen_by(router, sample))
    known = figures(found, sample)
    header, rows = confusion(found)
    if report is not None:
        command = _command("evaluate", [version], data=data, labels=labels, per_topic=per_topic)
        save(report, quality_report("router-evaluate", command, {router.label: found}, sample))
    if as_json or output:
        document = {"version": router.label, "prompts": len(sample.groups), "figures": known}
        if (counts := found.report) is not None:
            document |= {"topics": counts.topics, "confusion": counts.confusion.tolist(), "reasons": counts.reasons}
        emit(document, output)
    if not as_json:
        table(*lines({router.label: known}))
        if rows:
            table(header, rows)
        for note in quality_notes(router.label, quality(found, sample.groups)):
            hint(note)


def compare(
    first: Annotated[str, typer.Argument(help="router@v2", metavar="A")],
    second: Annotated[str, typer.Argument(help="router@v3, or champion", metavar="B")],
    data: Data = None,
    labels: Costs = None,
    per_topic: PerTopic = MOST_PER_TOPIC,
    c: Step = None,
    w: Width = None,
    cache: Cache = None,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Two routers on the same held-out prompts, prompt by prompt; exit code 1 unless the second is better."""
    from benchmarks.router_quality import quality_report
    from training.routing.gate import Side, judge
    from training.routing.measure import measure
    from training.routing.report import figures, lines, verdict_document
    from training.routing.versions import seen_by

    place = open_place(config, cache)
    one, other = place.serving(first), place.serving(second)
    sample = held_out_sample(place, data, per_topic, read_labels(place, labels, c, w), other, one)
    sides = {each.label: measure(each.router, seen_by(each, sample)) for each in (one, other)}
    verdict = judge(Side(one.label, sides[one.label]), Side(other.label, sides[other.label]), sample)
    known = {label: figures(side, sample) for label, side in sides.items()}
    if report is not None:
        command = _command("compare", [first, second], data=data, labels=labels, per_topic=per_topic)
        found = quality_report("router-compare", command, sides, sample)
        save(report, dataclasses.replace(found, notes=[*found.notes, f"{other.label} {verdict.reason}"]))
    if as_json or output:
        emit({"figures": known, "prompts": len(sample.groups), "verdict": verdict_document(verdict)}, output)
    if not as_json:
        table(*lines(known))
        hint(f"{other.label} {verdict.reason}")
    raise typer.Exit(0 if verdict.outcome.value == "better" else EXIT_NO)


def rollback(
    reason: Annotated[str, typer.Option(help="Kept with the version that goes.")] = "by hand",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve the router that served before; it is followed within seconds."""
    from commands.registry import registry_rollback

    registry_rollback("router", reason, config, as_json)


COMMANDS: dict[str, Callable[..., None]] = {
    "retrain": retrain,
    "evaluate": evaluate,
    "compare": compare,
    "rollback": rollback,
}


def _kind(name: str) -> str:
    """The kind's own name; "" goes by topic.

    Raises:
        ConfigError: there is no such kind.
    """
    from router.kinds import KINDS

    known = {"topic": "", **{kind.replace(" ", "-"): kind for kind in KINDS}}
    if name.replace(" ", "-") not in known:
        raise ConfigError(f"--kind {name} is unknown", do=f"use one of {', '.join(known)}")
    return known[name.replace(" ", "-")]


def _counted(prompts: "RoutingPrompts") -> str:
    from training.routing.prompts import PARTS

    dropped = f"{prompts.num_duplicates:,} duplicates and {prompts.num_ambiguous:,} claimed twice dropped"
    used = sum(prompts.size(part) for part in PARTS)
    parts = [f"{part.replace('_', ' ')} {prompts.size(part):,}" for part in PARTS]
    return f"{used:,} of {prompts.num_given:,} prompts ({dropped}): {', '.join(parts)}"


def _show(found: "Trained", as_json: bool) -> None:
    from training.routing.report import figures, lines

    if as_json:
        return
    serving, new = (figures(side, found.sample) for side in (found.serving, found.candidate))
    table(*lines({found.serving_label: serving, "new": new}))
    hint(f"The new router is {found.verdict.outcome.value}: {found.verdict.reason}")


def _answer(what: dict[str, Any], found: "Trained", as_json: bool, output: Path | None) -> None:
    from training.routing.prompts import PARTS
    from training.routing.report import figures, verdict_document

    if not (as_json or output):
        return
    sides = {"serving": found.serving, "new": found.candidate}
    known = {name: figures(side, found.sample) for name, side in sides.items()}
    prompts = {part: found.prompts.size(part) for part in PARTS}
    emit({**what, "prompts": prompts, "figures": known, "verdict": verdict_document(found.verdict)}, output)


def _same(one: Path, other: Path) -> bool:
    """Whether two routers decide alike: their files are the same."""
    from router.storage import ARRAYS, HEADER

    return all((one / name).read_bytes() == (other / name).read_bytes() for name in (HEADER, ARRAYS))


def _command(name: str, given: Sequence[str] = (), **options: object) -> str:
    """Repeats a command."""
    words = ["polydraft", "router", name, *given]
    for option, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                words += [f"--{option.replace('_', '-')}", str(each)]
    return shlex.join(words)
