"""Options that several commands share, and how a command hands over what it found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from configs.console import emit, hint, table
from configs.errors import ConfigError

if TYPE_CHECKING:
    from benchmarks.results import Report

N = TypeVar("N", int, float)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Deployment file; without it, the starter.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write the JSON document to this file.")]
ReportFolder = Annotated[Path | None, typer.Option("--report", help="Folder for a dated table, picture and document.")]
Prompts = Annotated[Path | None, typer.Option("--prompts", help="JSON lines with prompt and topic; - is stdin.")]
Repeats = Annotated[int, typer.Option(help="Interleaved blocks.")]


def numbers(kind: type[N], option: str, text: str) -> list[N]:
    """Numbers separated by commas, each once, in order.

    Raises:
        ConfigError: not a list of numbers above 0.
    """
    try:
        found = sorted({kind(word) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] <= 0:
        raise ConfigError(f"{option} {text} is no list of numbers above 0", do=f"{option} 1,2")
    return found


def deliver(found: "Report", folder: Path | None, as_json: bool, output: Path | None) -> None:
    """A report: dated files, a document, or a table."""
    if folder:
        save(folder, found)
    if as_json or output:
        emit(found.document(), output)
    if not as_json:
        table(*found.table())
        for note in found.notes:
            hint(note)


def save(folder: Path, found: "Report") -> None:
    """Dated files of a report."""
    hint("Wrote " + ", ".join(str(path) for path in found.save(folder)))
