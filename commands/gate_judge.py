"""`polydraft gate judge`: any version before the gate, on requests that nobody has learned from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.options import AsJson, ConfigFile, Output
from configs.console import EXIT_NO, emit, hint, show_error, table
from configs.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from decoding.trace import SpeculationTrace
    from registry.store import Registry
    from registry.version import Version
    from serving.config import Deployment
    from training.distillation.parent import Parent
    from training.online.trial import Trial


@dataclass(frozen=True)
class _Case:
    """Who is judged against whom.

    Attributes:
        against: what the candidate must beat; what ``serves`` unless somebody named another.
        champion: number of the model's champion; None: it has none, and ``serves`` is another draft.
    """

    deployment: "Deployment"
    registry: "Registry"
    target: Path
    candidate: "Version"
    topic: str
    against: "Parent"
    serves: "Parent"
    champion: int | None

    @property
    def is_about_serving(self) -> bool:
        return self.against.folder == self.serves.folder


def judge(
    version: Annotated[str, typer.Argument(help="sql@v3; sql is its challenger.", metavar="DRAFT[@vN]")],
    against: Annotated[
        str | None, typer.Option(help="Version to beat, such as sql@v2; without it, what serves.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Version that it must not be behind: distilled offline from the same data.")
    ] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder of traces; without it, the deployment's.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="JSON lines, or a folder of them; the target answers the validation prompts.")
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it the champion if it passes.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Replay two drafts on held-out requests; exit code 0 if the first saves target runs, else 1."""
    from training.judging.hearing import Hearing
    from training.judging.record import document, write_down
    from training.online.trial import LENGTH

    if traces is not None and data is not None:
        raise ConfigError("pass either --traces or --data")
    case = _case(version, against, config)
    if promote and not case.is_about_serving:
        raise ConfigError(
            f"{case.serves.label} serves, so that winning against {case.against.label} promotes nobody",
            do="leave --against out, or --promote",
        )
    folder = None if control is None else _found(case.registry, case.deployment, control).folder
    length = case.deployment.decoding.num_draft_tokens or LENGTH
    longest = case.deployment.target.max_length
    hearing = Hearing(case.against.folder, case.candidate.folder, case.target, longest, folder, length)
    trial = hearing.judge(_recorded(case, traces) if data is None else _answered(case, data))
    found = {"candidate": case.candidate.label, "against": case.against.label, "control": control, **document(trial)}
    if case.is_about_serving:
        write_down(case.registry, case.candidate, case.against.label, trial)
    promoted = promote and found["passed"] and _promoted(case, trial)
    _show({**found, "promoted": promoted}, case, as_json, output)
    raise typer.Exit(0 if (promoted if promote else found["passed"]) else EXIT_NO)


def _case(label: str, against: str | None, config: Path | None) -> _Case:
    from registry.names import CHALLENGER, router_model, short_name
    from serving.config import deployment_of
    from serving.deployment import Resolved, Resolver, open_registry
    from serving.plan import check_version

    deployment = deployment_of(config)
    resolver, registry = Resolver(deployment), open_registry(deployment)
    candidate = _found(registry, deployment, label if "@" in label else f"{label}@{CHALLENGER}")
    if candidate.model == router_model(deployment.name):
        raise ConfigError(f"{candidate.label} is a router", do=f"polydraft router compare router@v1 {candidate.label}")
    topic = candidate.tags.get("topic") or short_name(candidate.model)
    serves = _rival(registry, deployment, resolver, topic, None)
    rival = serves if against is None else _rival(registry, deployment, resolver, topic, against)
    if rival.folder == candidate.folder:
        what = f"{candidate.label} {'serves already' if against is None else 'is no rival to itself'}"
        raise ConfigError(what, do="pass --against another version")
    for each in (candidate, rival.version):
        if each is not None:
            check_version(deployment, Resolved(each.folder, each.label, each.tags))
    target = resolver.resolve(deployment.target.model, "target", deployment.target.revision).folder
    has_champion = any(m.champion for m in registry.list_models(candidate.model) if m.model == candidate.model)
    number = serves.number_in(candidate.model) if has_champion else None
    return _Case(deployment, registry, target, candidate, topic, rival, serves, number)


def _found(registry: "Registry", deployment: "Deployment", label: str) -> "Version":
    from registry.names import Reference

    if "@" not in label:
        raise RegistryError(f"{label} does not say which version", do=f"write {label}@v2; see polydraft registry list")
    return registry.get(Reference.parse(label, deployment.name))


def _rival(registry: "Registry", deployment: "Deployment", resolver: Any, topic: str, wanted: str | None) -> "Parent":
    """The version that somebody wants, else what drafts for the topic: its champion, or the general draft."""
    from drafts.pool import GENERAL
    from training.distillation.parent import find_parent

    sources = {name: each.model for name, each in deployment.drafts.topics.items()}
    if deployment.drafts.general is not None:
        sources[GENERAL] = deployment.drafts.general.model
    try:
        return find_parent(
            registry, deployment.name, topic, wanted, sources, lambda source: resolver.resolve(source, topic).folder
        )
    except ConfigError:
        raise ConfigError(
            f"nothing drafts for {topic} in {deployment.name}, so that there is nothing to beat",
            do="pass --against a version, or polydraft registry promote",
        ) from None


def _recorded(case: _Case, folder: Path | None) -> "Iterable[Sequence[SpeculationTrace]]":
    from decoding.checkpoint import fingerprint
    from decoding.trace_reader import TraceReader
    from drafts.pool import GENERAL
    from training.distillation.record import JOB
    from training.judging.held_out import recorded

    folder = folder or case.deployment.traces.path(case.deployment.name)
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder} of traces", do="serve with traces.enabled: true, or pass --data")
    reader = TraceReader(folder, [None if case.topic == GENERAL else case.topic], fingerprint(case.target))
    is_distilled = case.candidate.tags.get("job") == JOB
    return [recorded(reader, case.deployment.learning.heldout_share, is_distilled)]


def _answered(case: _Case, data: Path) -> "Iterable[Sequence[SpeculationTrace]]":
    from training.judging.held_out import Validation

    return Validation(
        data,
        case.topic,
        case.target,
        case.registry.location.state / "judging" / case.deployment.name,
        case.deployment.target.max_length,
        lambda done, of: hint(f"The target has answered {done} of {of} validation prompts"),
    ).looks()


def _promoted(case: _Case, trial: "Trial") -> bool:
    """Whether it is the champion now; not if somebody else promoted meanwhile."""
    from registry.aliases import AliasMoved
    from registry.verdicts import promote

    try:
        promote(case.registry, case.candidate, case.champion, trial.verdict.reason)
    except AliasMoved as error:
        show_error(error, as_json=False)
        return False
    return True


def _show(found: dict[str, Any], case: _Case, as_json: bool, output: Path | None) -> None:
    if as_json or output:
        emit(found, output)
    if as_json:
        return
    sides = {name: figures for name, figures in found["figures"].items() if figures is not None}
    names = {"candidate": found["candidate"], "against": found["against"], "control": found["control"]}
    rows = [
        ["alpha", *(f"{each['alpha']:.3f}" for each in sides.values())],
        ["tokens a target run", *(f"{each['tokens_per_target_run']:.3f}" for each in sides.values())],
    ]
    table(["held-out requests", *(names[name] for name in sides)], rows)
    said = {"passed": "passes the gate", "refused": "is refused", "undecided": "waits for more requests"}
    label = case.candidate.label
    hint(f"{label} {said[found['outcome']]}: {found['reason']}")
    if not case.is_about_serving:
        hint(f"Nothing was written down: {case.serves.label} serves, not {case.against.label}")
    elif found["promoted"]:
        undo = "" if case.champion is None else f". Undo: polydraft registry rollback {case.topic}"
        hint(f"Promoted {label}{undo}")
    elif found["passed"]:
        hint(f"Promote: polydraft registry promote {label}")
