"""`polydraft selfcheck`: answers are the target's own, here or on a running server."""

from typing import Annotated

import typer

from commands.options import AsJson, ConfigFile, Output, Prompts, ReportFolder, deliver
from configs.console import EXIT_NO, emit, hint, table
from configs.errors import ConfigError


def selfcheck(
    url: Annotated[
        str | None, typer.Argument(help="Check this running server against itself; without it, against transformers.")
    ] = None,
    prompts: Prompts = None,
    per_topic: Annotated[int, typer.Option(help="Prompts a topic.")] = 50,
    tokens: Annotated[int, typer.Option(help="New tokens a prompt.")] = 128,
    churn: Annotated[int, typer.Option(help="Rounds in which drafts, versions and company change in mid-answer.")] = 6,
    repeats: Annotated[int, typer.Option(help="With a URL: how often everything is asked.")] = 2,
    concurrency: Annotated[int, typer.Option(help="With a URL: requests at once.")] = 8,
    swap: Annotated[
        bool, typer.Option("--swap", help="With a URL: move champions to other versions and back meanwhile.")
    ] = False,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Compare greedy answers with transformers, token by token, or those of a server with and without drafts."""
    if url is None:
        from benchmarks.selfcheck import run_selfcheck

        found = run_selfcheck(config, prompts, per_topic, tokens, churn)
        deliver(found.report(), report, as_json, output)
        raise typer.Exit(0 if found.passed else EXIT_NO)
    if report:
        raise ConfigError("--report is of the check without a URL", do="use --output for the document of this one")
    from benchmarks.selfcheck_url import run_selfcheck_url

    asked = run_selfcheck_url(url, prompts, per_topic, tokens, repeats, concurrency, swap, config)
    if asked.swaps is not None:
        hint(f"{asked.swaps} champions moved meanwhile")
    if as_json or output:
        emit(asked.document(), output)
    if not as_json:
        table(*asked.rows())
    raise typer.Exit(0 if asked.passed else EXIT_NO)
