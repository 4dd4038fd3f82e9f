"""`polydraft bench gpu`."""

from typing import Annotated

import typer

from commands.options import AsJson, Output, Repeats, ReportFolder, deliver, numbers
from configs.console import EXIT_NO


def bench_gpu(
    shape: Annotated[str, typer.Option(help="Target of random weights: 160m, 1.1b, 7b or 33b.")] = "7b",
    draft_shape: Annotated[str, typer.Option(help="Draft of random weights, likewise.")] = "160m",
    alphas: Annotated[str, typer.Option(help="Forced acceptance, separated by commas.")] = "0.5,0.6,0.7,0.8,0.9",
    tokens: Annotated[int, typer.Option(help="Timed tokens a request.")] = 192,
    repeats: Repeats = 3,
    sections: Annotated[str, typer.Option(help="Parts, separated by commas.")] = "check,pass,plain,stacks,forced",
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """On a GPU: the CPU's answers, captured against eager, plain against the memory's bandwidth, theory. Exit 1: no."""
    from benchmarks.gpu import run_gpu

    chances = numbers(float, "--alphas", alphas)
    found = run_gpu(shape, draft_shape, chances, tokens, repeats, sections.split(","))
    deliver(found, report, as_json, output)
    if any(row.get("is_good") is False for row in found.rows):
        raise typer.Exit(EXIT_NO)
