"""`polydraft replay`: score drafts on recorded answers."""

from pathlib import Path
from typing import Annotated

import typer

from commands.options import AsJson, ConfigFile, Output, ReportFolder, deliver
from configs.errors import ConfigError


def replay(
    draft: Annotated[list[str], typer.Option(help="sql, sql@v3 or a folder; may be given again.")],
    traces: Annotated[Path | None, typer.Option(help="Folder of traces; without it, the deployment's.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="Only traces of this topic; may be given again.")] = None,
    c: Annotated[float | None, typer.Option("--c", help="Cost of a draft step in target runs; else measured.")] = None,
    w: Annotated[
        str | None,
        typer.Option("--w", help="Cost of target runs over 1, 2, 3, ... rows, separated by commas; else measured."),
    ] = None,
    fit_temperature: Annotated[bool, typer.Option(help="Fit each draft's temperature to sampled answers.")] = False,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """What drafts would have cost on recorded answers, exactly, for every proposal length."""
    from benchmarks.replay import GivenCosts, run_replay

    if c is not None and c < 0:
        raise ConfigError(f"--c {c:g} is below 0", do="--c 0.05")
    given = GivenCosts(c, None if w is None else rising(w))
    found = run_replay(config, traces, draft, topic or (), given, fit_temperature)
    deliver(found, report, as_json, output)


def rising(text: str) -> list[float]:
    """Costs that start at 1 and never fall.

    Raises:
        ConfigError: they are not.
    """
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or found[0] != 1 or found != sorted(found):
        raise ConfigError(f"--w {text} is no list of costs that starts at 1 and never falls", do="--w 1,1.05,1.1")
    return found
