"""`polydraft registry`: versions of drafts and routers, and which of them serve."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import AsJson, ConfigFile, Output
from configs.console import EXIT_NO, emit, hint, show_error, table
from configs.errors import IncompatibleDraft, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.store import Registry
    from registry.version import Version
    from serving.config import Deployment

app = typer.Typer(no_args_is_help=True, help="Draft versions: list, compare, promote, roll back, tidy up.")

Which = Annotated[str, typer.Argument(help="sql@v3, sql@champion or router@v2", metavar="DRAFT@vN")]


@app.command("list")
def registry_list(config: ConfigFile = None, as_json: AsJson = False, output: Output = None) -> None:
    """Every draft of the deployment: its champion, its figures, where it came from."""
    from registry.report import list_lines, list_rows

    deployment, registry = _opened(config)
    models = registry.list_models(f"{deployment.name}-")
    if as_json or output:
        emit(list_rows(models), output)
    if not as_json:
        table(*list_lines(models))


@app.command("show")
def registry_show(
    draft: Annotated[str, typer.Argument(help="sql, sql@v3, sql@champion or router")],
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Everything known about one version: figures, lineage, run, data, files."""
    from registry.report import find_version, show_document, show_lines

    deployment, registry = _opened(config)
    model, version = find_version(registry, deployment.name, draft)
    document = show_document(model, version, registry.run_of(version))
    if as_json or output:
        emit(document, output)
    if not as_json:
        table(*show_lines(document))


@app.command("compare")
def registry_compare(
    first: Which, second: Which, config: ConfigFile = None, as_json: AsJson = False, output: Output = None
) -> None:
    """Two versions side by side: figures with differences, then what else differs."""
    from registry.comparison import compare, comparison_lines

    deployment, registry = _opened(config)
    one, other = (_version(registry, deployment, label) for label in (first, second))
    document = compare(one, other, (registry.run_of(one), registry.run_of(other)))
    if as_json or output:
        emit(document, output)
    if not as_json:
        table(*comparison_lines(document))
        if not document["same_held_out_text"]:
            hint("Their figures may come from different text. On the same answers:")
            hint(f"  polydraft replay --draft {one.label} --draft {other.label}")


@app.command("promote")
def registry_promote(
    draft: Which,
    expect: Annotated[
        str | None, typer.Option(help="Only if this is the champion now: v3, or none. Without it, what is found.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Kept with the version.")] = "by hand",
    force: Annotated[bool, typer.Option("--force", help="Although it was refused.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion; exit code 1 if it was refused, cannot serve, or somebody else was faster."""
    from registry.names import CHAMPION
    from registry.verdicts import check_verdict, promote

    expected = None if expect is None else _number(expect)
    deployment, registry = _opened(config)
    version = _version(registry, deployment, draft)
    model = next(model for model in registry.list_models(version.model) if model.model == version.model)
    before = model.aliases.get(CHAMPION)
    over = f"v{before}" if before not in (None, version.version) else None
    with _refusals(as_json):
        doubts = None if before == version.version else check_verdict(version, model.champion, force)
        if model.name != "router":
            _check(deployment, version)
        promote(registry, version, before if expect is None else expected, reason)
    if doubts is not None:
        hint(f"warning: {doubts}")
    if as_json:
        emit({"promoted": version.label, "over": over}, None)
        return
    if before == version.version:
        hint(f"{version.label} is the champion already")
        return
    hint(f"Promoted {version.label}{f' over {over}' if over else ''}")
    if over:
        hint(f"Undo: polydraft registry rollback {model.name}")


@app.command("rollback")
def registry_rollback(
    draft: Annotated[str, typer.Argument(help="sql, or router")],
    reason: Annotated[str, typer.Option(help="Kept with the version that goes.")] = "by hand",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the champion the version that it was before."""
    from registry.names import model_of
    from registry.verdicts import roll_back

    deployment, registry = _opened(config)
    with _refusals(as_json):
        left, back = roll_back(registry, model_of(deployment.name, draft), reason)
    if as_json:
        emit({"rolled_back": left.label, "champion": back.label}, None)
        return
    hint(f"Rolled {left.label} back; {back.label} is the champion\nUndo: polydraft registry promote {left.label}")


@app.command("gc")
def registry_gc(
    draft: Annotated[str | None, typer.Argument(help="Only this one: sql, or router.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Newest versions of each draft that stay.")] = 5,
    older_than: Annotated[float, typer.Option(min=0, help="Only versions older than this many days.")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what would go.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove old versions that no alias and no rollback leads to, and free their files.

    Never goes: what any alias points to, what a rollback would lead to, what the deployment names by number,
    what is younger than an hour.
    """
    from registry.removal import Rule, candidates, remove, rows_of

    deployment, registry = _opened(config)
    rule = Rule(keep, older_than, _pinned(deployment))
    models = registry.list_models(f"{deployment.name}-")
    models = [model for model in models if draft in (None, model.name)]
    if draft is not None and not models:
        raise RegistryError(f"the registry has no draft {draft}", do="polydraft registry list")
    rows = rows_of(candidates(models, rule))
    if yes:
        gone = {(version.model, version.version) for version in remove(registry, [one.model for one in models], rule)}
        rows = [row for row in rows if (row["model"], row["version"]) in gone]
    if as_json:
        emit({"removed": yes, "versions": rows}, None)
        return
    if not rows:
        hint("Nothing may be removed")
        return
    table(["version", "registered", "MB"], [[r["label"], r["created"][:10], f"{r['bytes'] / 1e6:.1f}"] for r in rows])
    what = f"{len(rows)} version{'s' if len(rows) > 1 else ''}, {sum(row['bytes'] for row in rows) / 1e6:.1f} MB"
    hint(f"Removed {what}" if yes else f"Would remove {what}; to do it, the same with --yes")


@app.command("ui")
def registry_ui(
    config: ConfigFile = None, port: Annotated[int, typer.Option(help="Port of the pages.")] = 5000
) -> None:
    """Open the MLflow pages of the registry; stop with Ctrl-C."""
    import subprocess

    from registry.ui import links, ui_command, ui_environment

    deployment, registry = _opened(config)
    models = registry.list_models(f"{deployment.name}-")
    command = ui_command(deployment.registry, port)
    hint("Starting MLflow, about ten seconds; stop it with Ctrl-C. Then open")
    for link in links(deployment.registry, models, port):
        hint(f"  {link.title:<12} {link.url}")
    raise typer.Exit(subprocess.run(command, env=ui_environment(), check=False).returncode)


def _opened(config: ConfigFile) -> "tuple[Deployment, Registry]":
    from serving.config import deployment_of
    from serving.deployment import open_registry

    deployment = deployment_of(config)
    return deployment, open_registry(deployment)


def _version(registry: "Registry", deployment: "Deployment", label: str) -> "Version":
    from registry.names import Reference

    if "@" not in label:
        raise RegistryError(f"{label} does not say which version", do=f"write {label}@v2; see polydraft registry list")
    return registry.get(Reference.parse(label, deployment.name))


def _check(deployment: "Deployment", version: "Version") -> None:
    from serving.deployment import Resolved
    from serving.plan import check_version

    check_version(deployment, Resolved(version.folder, version.label, version.tags))


def _number(expect: str) -> int | None:
    if expect == "none":
        return None
    digits = expect.rpartition("@")[2].removeprefix("v")
    if not digits.isdigit():
        raise RegistryError(f"--expect {expect} is no version", do="write v3, or none")
    return int(digits)


def _pinned(deployment: "Deployment") -> frozenset[tuple[str, int]]:
    from registry.names import SCHEME, Reference

    sources = [source.model for source in deployment.drafts.topics.values()]
    sources += [one.model for one in (deployment.drafts.general, deployment.router) if one is not None]
    named = [Reference.parse(source) for source in sources if source.startswith(SCHEME)]
    return frozenset((reference.model, reference.version) for reference in named if reference.version is not None)


@contextmanager
def _refusals(as_json: bool) -> "Iterator[None]":
    """A refusal is an answer: exit code 1, told like an error."""
    from registry.aliases import AliasMoved
    from registry.verdicts import Refused

    try:
        yield
    except (AliasMoved, IncompatibleDraft, Refused) as refusal:
        show_error(refusal, as_json)
        raise typer.Exit(EXIT_NO) from None
