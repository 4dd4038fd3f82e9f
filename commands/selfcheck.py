"""`polydraft selfcheck`: answers are the target's own, here or on a running server."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import AsJson, ConfigFile, Output, Prompts
from configs.console import EXIT_NO, emit, hint, table

if TYPE_CHECKING:
    from benchmarks.selfcheck import SelfcheckReport
    from benchmarks.selfcheck_url import UrlReport


def selfcheck(
    url: Annotated[
        str | None, typer.Argument(help="Check this running server against itself; without it, against transformers.")
    ] = None,
    prompts: Prompts = None,
    per_topic: Annotated[int, typer.Option(help="Prompts a topic.")] = 50,
    tokens: Annotated[int, typer.Option(help="New tokens a prompt.")] = 128,
    churn: Annotated[int, typer.Option(help="Rounds in which drafts and company change in mid-answer.")] = 1,
    repeats: Annotated[int, typer.Option(help="With a URL: how often everything is asked.")] = 2,
    concurrency: Annotated[int, typer.Option(help="With a URL: requests at once.")] = 8,
    swap: Annotated[
        bool, typer.Option("--swap", help="With a URL: move champions to other versions and back meanwhile.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Compare greedy answers with transformers, token by token, or those of a server with and without drafts."""
    report: SelfcheckReport | UrlReport
    if url is None:
        from benchmarks.selfcheck import run_selfcheck

        report = run_selfcheck(config, prompts, per_topic, tokens, churn)
    else:
        from benchmarks.selfcheck_url import run_selfcheck_url

        report = run_selfcheck_url(url, prompts, per_topic, tokens, repeats, concurrency, swap, config)
        if report.swaps is not None:
            hint(f"{report.swaps} champions moved meanwhile")
    if as_json or output:
        emit(report.document(), output)
    if not as_json:
        table(*report.rows())
    raise typer.Exit(0 if report.passed else EXIT_NO)
