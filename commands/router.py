"""`polydraft router`: what routers learn from, and how they are trained, compared and taken back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.options import AsJson, ConfigFile, Output, ReportFolder, deliver
from configs.console import emit, hint, table
from configs.errors import ConfigError

if TYPE_CHECKING:
    from router.costs import CostTable, Prices
    from training.labels.job import Setting

app = typer.Typer(no_args_is_help=True, help="Which draft a query gets: labels, training, versions.")
_HEADER = ["group", "draft", "prompts", "tokens", "k", "cost a token", "tokens/run", "best for"]


@app.callback()
def router() -> None:
    """Keeps every command of the group one of its own."""


@app.command("label")
def router_label(
    output: Annotated[Path, typer.Option(help="Folder for the table of costs; the same one resumes.")],
    data: Annotated[
        Path | None, typer.Option(help="JSON lines with prompt (and topic, split), or a folder of such files.")
    ] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder of recorded answers, in place of --data.")] = None,
    split: Annotated[str, typer.Option(help="Of the data: train | validation.")] = "train",
    per_topic: Annotated[int | None, typer.Option(help="Prompts of a topic, at most.")] = None,
    tokens: Annotated[int, typer.Option(help="Longest answer.")] = 128,
    temperature: Annotated[float, typer.Option(help="At which the target answers.")] = 0.0,
    c: Annotated[float | None, typer.Option("--c", help="Cost of a draft step in target runs; else measured.")] = None,
    w: Annotated[
        str | None, typer.Option("--w", help="Cost of target runs over 1, 2, 3, ... rows; else measured.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What every draft of the deployment costs on the target's own answers, exactly; resumable at any moment."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from training.labels.job import label_questions, label_traces
    from training.labels.questions import read_questions
    from training.labels.summary import summarise

    torch.set_num_threads(1)
    if (data is None) == (traces is None):
        raise ConfigError("pass either --data or --traces", do="polydraft router label --data DIR --output labels")
    if split not in ("train", "validation"):
        raise ConfigError(f"--split {split} is unknown", do="use one of train, validation")
    if (c is None) != (w is None):
        raise ConfigError("--c and --w go together", do="pass both, or measure both")
    setting = _setting(config, output, temperature, tokens)
    if data is not None:
        found = label_questions(setting, read_questions(data, split, per_topic))
    else:
        assert traces is not None
        found = label_traces(setting, traces, per_topic)
    prices = _prices(setting, found.table, c, w)
    rows = summarise(found.table, prices)
    if as_json:
        emit(
            {
                "folder": str(output),
                "digest": found.table.digest,
                "prompts": len(found.table),
                "tokens": int(found.table.tokens.sum()),
                "left_out": found.left_out,
                "answered": found.asked,
                "replayed": found.replayed,
                "c": prices.draft,
                "w": prices.width,
                "groups": rows,
            },
            None,
        )
    else:
        table(_HEADER, [_cells(row) for row in rows])
    hint(
        f"{len(found.table):,} prompts ({found.left_out} too long) in {output}; {found.asked} answered, "
        f"{sum(found.replayed.values()):,} replays made now; c {prices.draft[0]:.3f}, w({setting.longest + 1}) "
        f"{prices.width[-1]:.2f} {'measured here' if c is None else 'as given'}"
    )


def _setting(config: Path | None, output: Path, temperature: float, tokens: int) -> "Setting":
    """Target and drafts of the deployment, checked; drafts of topics that it follows are among them."""
    from serving.config import deployment_of
    from serving.followed import with_followed
    from serving.plan import make_plan
    from training.labels.job import Setting

    deployment = deployment_of(config)
    plan = with_followed(make_plan(deployment), deployment)
    if not plan.drafts:
        raise ConfigError(f"{deployment.name} has no drafts to label with", do="name some under drafts")
    return Setting(
        target=plan.target,
        drafts=plan.drafts,
        output=output,
        max_length=plan.max_length,
        temperature=temperature,
        max_tokens=tokens,
        told=_progress(),
    )


def _progress() -> Callable[[str, int, int], None]:
    """Says how far it is, at most every few seconds."""
    from time import monotonic

    said = {"at": monotonic()}

    def told(what: str, done: int, of: int) -> None:
        if monotonic() - said["at"] > 5 or (done == of and of > 1000):
            said["at"] = monotonic()
            hint(f"{what}: {done:,} of {of:,}")

    return told


def _prices(setting: "Setting", found: "CostTable", c: float | None, w: str | None) -> "Prices":
    from commands.replay import rising
    from decoding.load import load_draft, load_model
    from training.labels.prices import given_prices, measured_prices

    if c is not None and w is not None:
        return given_prices(c, rising(w), len(found.drafts), setting.longest)
    target = load_model(setting.target, 8, setting.max_length)
    drafts = {name: load_draft(setting.drafts[name].folder, 8, setting.max_length) for name in found.drafts}
    return measured_prices(target, drafts, setting.longest)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["group"],
        row["version"],
        str(row["prompts"]),
        str(row["tokens"]),
        str(row["num_draft_tokens"]),
        f"{row['cost_per_token']:.3f}" if row["tokens"] else "-",
        f"{row['tokens_per_target_run']:.2f}" if row["tokens"] else "-",
        f"{row['best_share']:.0%}",
    ]


@app.command("hedge")
def router_hedge(
    data: Annotated[
        Path | None, typer.Option(help="JSON lines with prompt, topic and split, or a folder of such files.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder of answers and replays, kept.")] = None,
    per_topic: Annotated[int, typer.Option(help="Train prompts of a topic to learn from.")] = 300,
    held_out: Annotated[int, typer.Option(help="Validation prompts of a topic to measure on.")] = 100,
    tokens: Annotated[int, typer.Option(help="Longest answer.")] = 96,
    kind: Annotated[str, typer.Option(help="Kind of router that predicts beforehand.")] = "logistic",
    c: Annotated[float | None, typer.Option("--c", help="Cost of a draft step in target runs; else measured.")] = None,
    w: Annotated[
        str | None, typer.Option("--w", help="Cost of target runs over 1, 2, 3, ... rows; else measured.")
    ] = None,
    row: Annotated[
        float | None, typer.Option(help="Cost of a further row of a draft's forward; else measured.")
    ] = None,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Whether changing the draft in mid-answer pays for scoring the others, by several rules, on held-out prompts."""
    from benchmarks.hedge import HedgeTrial, run_hedge
    from commands.replay import rising

    if len({each is None for each in (c, w, row)}) > 1:
        raise ConfigError("--c, --w and --row go together", do="pass all three, or measure them")
    costs = None if w is None else rising(w)
    trial = HedgeTrial(data, labels, per_topic, held_out, tokens, kind, c, costs, row)
    deliver(run_hedge(config, trial), report, as_json, output)
