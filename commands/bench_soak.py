"""`polydraft bench soak`."""

from typing import Annotated

import typer

from commands.options import AsJson, Output, Prompts, ReportFolder, deliver
from configs.console import EXIT_NO


def bench_soak(
    prompts: Prompts = None,
    minutes: Annotated[float, typer.Option(help="How long.")] = 20,
    concurrency: Annotated[int, typer.Option(help="Clients at once.")] = 16,
    tokens: Annotated[int, typer.Option(help="New tokens a request, at most.")] = 96,
    per_topic: Annotated[int, typer.Option(help="Prompts a topic; the trainer needs several.")] = 16,
    swap_seconds: Annotated[float, typer.Option(help="Between two changes of champions.")] = 5.0,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Clients that leave or talk nonsense, swaps and the trainer at once: does anything break, differ or grow?"""
    from benchmarks.soak import run_soak

    found = run_soak(prompts, minutes, concurrency, tokens, per_topic, swap_seconds)
    deliver(found, report, as_json, output)
    raise typer.Exit(0 if found.facts["passed"] else EXIT_NO)
