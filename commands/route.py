"""`polydraft route`: which draft a query gets, and why."""

from pathlib import Path
from typing import Annotated

import typer

from commands.options import ConfigFile
from configs.console import emit, emit_line, read_records, table
from configs.errors import ConfigError


def route(
    text: Annotated[str | None, typer.Argument(help="The query.")] = None,
    source: Annotated[Path | None, typer.Option("--input", help="JSON lines with prompt; - is stdin.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="For people: what was weighed, and what decided.")] = False,
    config: ConfigFile = None,
) -> None:
    """Say which draft a query gets, as JSON: one document, or one a line for --input."""
    if (text is None) == (source is None):
        raise ConfigError("pass either a query or --input", do='polydraft route "How many singers do we have?"')
    if explain and text is None:
        raise ConfigError("--explain is about one query", do='polydraft route --explain "How many singers do we have?"')
    from serving.config import deployment_of
    from serving.routing import open_router

    router = open_router(deployment_of(config))
    if text is not None:
        if explain:
            table(*router.explanation(text))
        else:
            emit(router.document(text), None)
        return
    assert source is not None
    for record in read_records(source, needed=["prompt"]):
        emit_line({"prompt": record["prompt"], **router.document(record["prompt"])})
