"""`polydraft gate`: the test that a candidate must pass to become champion."""

from typing import Annotated

import typer

from commands.gate_judge import judge
from commands.options import AsJson, Output, ReportFolder, deliver
from configs.console import EXIT_NO
from configs.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="The test that a candidate must pass to become champion.")
app.command("judge")(judge)


@app.command("simulate")
def gate_simulate(
    promotions: Annotated[int, typer.Option(help="Simulated promotions of each kind of candidate.")] = 200,
    quick: Annotated[bool, typer.Option(help="A quarter of them.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated requests.")] = 0,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """How often the gate promotes noise, and how fast it sees a better draft; beside the naive test of tokens."""
    from benchmarks.gate import run_gate_simulation

    if promotions < 4:
        raise ConfigError(f"--promotions {promotions} says nothing", do="--promotions 200")
    found = run_gate_simulation(promotions // 4 if quick else promotions, seed)
    deliver(found, report, as_json, output)
    raise typer.Exit(0 if found.facts["passed"] else EXIT_NO)
