"""`polydraft traces`: what the server has kept to learn from."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.options import AsJson, ConfigFile, Output
from configs.console import emit, hint, table
from configs.errors import ConfigError

if TYPE_CHECKING:
    from decoding.trace_summary import TopicSummary

app = typer.Typer(no_args_is_help=True, help="What the target said, kept for drafts to learn from.")
_HEADER = ["topic", "traces", "tokens", "from", "to", "drafts", "tokens/run", "accepted"]


@app.command("show")
def traces_show(
    traces: Annotated[Path | None, typer.Option(help="Folder of traces; without it, the deployment's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """What is in the log, by topic: how much, from when, who drafted, and what came of it."""
    from decoding.trace_reader import TraceReader
    from decoding.trace_summary import summarise

    folder = traces if traces is not None else _folder(config)
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder} of traces", do="serve with traces.enabled: true, or pass --traces DIR")
    reader = TraceReader(folder)
    topics = summarise(reader)
    if as_json or output:
        damaged = [str(path) for path in reader.damaged]
        emit({"folder": str(folder), "topics": [_row(each) for each in topics], "damaged": damaged}, output)
    if not as_json:
        table(_HEADER, [_cells(each) for each in topics])
    if not topics:
        hint(f"no traces in {folder} yet")


def _folder(config: Path | None) -> Path:
    from serving.config import deployment_of

    deployment = deployment_of(config)
    return deployment.traces.path(deployment.name)


def _row(summary: "TopicSummary") -> dict[str, Any]:
    return {
        "topic": summary.topic,
        "traces": summary.num_traces,
        "tokens": summary.num_tokens,
        "first": _time(summary.first),
        "last": _time(summary.last),
        "drafts": {draft or "none": count for draft, count in summary.drafts.most_common()},
        "targets": dict(summary.targets.most_common()),
        "tokens_per_target_run": round(summary.tokens_per_target_run, 4),
        "accepted_share": round(summary.accepted_share, 4),
    }


def _cells(summary: "TopicSummary") -> list[str]:
    drafts = ", ".join(f"{draft or 'none'} {count}" for draft, count in summary.drafts.most_common())
    return [
        summary.topic or "none",
        str(summary.num_traces),
        str(summary.num_tokens),
        _time(summary.first),
        _time(summary.last),
        drafts,
        f"{summary.tokens_per_target_run:.2f}",
        f"{summary.accepted_share:.3f}",
    ]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
