"""`polydraft bench router-latency` and `router-retrain`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from commands.options import AsJson, ConfigFile, Output, Prompts, Repeats, ReportFolder, deliver
from configs.console import EXIT_NO
from configs.errors import ConfigError


def router_latency(
    prompts: Prompts = None,
    decisions: Annotated[int, typer.Option(min=10, help="Decisions for each length of prompts.")] = 200,
    requests: Annotated[int, typer.Option(min=0, help="Requests routed, and as many not; 0 starts no server.")] = 150,
    tokens: Annotated[int, typer.Option(help="New tokens a request, at most.")] = 32,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """How long a route decision takes on one core, and what routing costs the first token; exit code 1 if too long."""
    from benchmarks.router_latency import run_router_latency

    if 0 < requests < 8:
        raise ConfigError(f"--requests {requests} says nothing", do="--requests 150")
    found = run_router_latency(config, prompts, decisions, requests, tokens)
    deliver(found, report, as_json, output)
    raise typer.Exit(0 if found.facts["passed"] else EXIT_NO)


def router_retrain(
    prompts: Annotated[
        Path, typer.Option(help="JSON lines with prompt, topic and maybe split, or a folder of such files.")
    ],
    count: Annotated[int, typer.Option(min=64, help="Prompts in all.")] = 20_000,
    cache: Annotated[Path | None, typer.Option(help="Where embeddings are kept; filled before anything is timed.")] = (
        None
    ),
    repeats: Repeats = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """How long router retrain takes on prompts that are embedded already, by stage; exit code 1 if too long."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from benchmarks.router_retrain import RetrainTrial, run_router_retrain

    found = run_router_retrain(config, RetrainTrial(prompts, count, max(repeats, 1), cache))
    deliver(found, report, as_json, output)
    raise typer.Exit(EXIT_NO if False in (found.facts["passed"], found.facts["same_bits"]) else 0)
