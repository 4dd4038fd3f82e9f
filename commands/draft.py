"""`polydraft draft`: how a draft should be built."""

import os
from pathlib import Path
from typing import Annotated

import typer

from commands.options import AsJson, ConfigFile, Output, ReportFolder, deliver

app = typer.Typer(no_args_is_help=True, help="How a draft should be built.")


@app.callback()
def draft() -> None:
    """Keeps `design` a command of its own while it is the only one."""


@app.command("design")
def draft_design(
    data: Annotated[Path, typer.Option(help="JSON lines with prompt, and response to pre-train on.")],
    topic: Annotated[str, typer.Option(help="Records of this topic; general takes all.")] = "general",
    shapes: Annotated[
        str, typer.Option(help="Layers x width, separated by commas.")
    ] = "1x64,1x128,1x192,1x320,2x128,2x192,4x128",
    steps: Annotated[int, typer.Option(help="Of each of two stages, for every shape.")] = 300,
    work: Annotated[Path, typer.Option(help="Checkpoints; the same command goes on from them.")] = Path("out/design"),
    quick: Annotated[bool, typer.Option("--quick", help="Three shapes, 60 steps, 120 prompts.")] = False,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Measure what a step of each shape costs here, estimate its acceptance by short trainings, compare throughput."""
    import torch

    from benchmarks.results import Report
    from serving.config import deployment_of
    from serving.deployment import Resolver
    from training.design import Brief, Shape, design, draw_frontier

    torch.set_num_threads(1)  # as serving does
    if quick:
        shapes, steps = "1x64,1x192,2x192", 60
    deployment = deployment_of(config)
    brief = Brief(
        target=Resolver(deployment).resolve(deployment.target.model, "target", deployment.target.revision).folder,
        data=data,
        topic=topic,
        work=work,
        shapes=[Shape.parse(text) for text in shapes.split(",")],
        steps=steps,
        limit=120 if quick else Brief.limit,
        max_length=deployment.target.max_length,
    )
    rows = design(brief)
    best = max(rows, key=lambda row: row["speedup"])
    found = Report(
        name="draft-design",
        command=f"polydraft draft design --data {data.name} --topic {topic} --shapes {shapes} --steps {steps}",
        rows=rows,
        columns={
            "shape": lambda row: row["shape"],
            "parameters": lambda row: f"{row['parameters']:,}",
            "step, ms": lambda row: f"{row['draft_step_ms']:.3f}",
            "c": lambda row: f"{row['c']:.3f}",
            "alpha T=0": lambda row: f"{row['alpha']:.3f}",
            "alpha T=1": lambda row: f"{row['alpha_t1']:.3f}",
            "k": lambda row: str(row["num_draft_tokens"]),
            "tokens/run": lambda row: f"{row['tokens_per_target_run']:.2f}",
            "predicted": lambda row: f"{row['speedup']:.2f}x",
        },
        draw=draw_frontier,
        notes=[
            f"Highest predicted throughput: {best['shape']} with {best['num_draft_tokens']} tokens a proposal.",
            f"Every shape was trained for {steps} steps a stage; a longer training favours the larger ones.",
            *_busy(),
        ],
    )
    deliver(found, report, as_json, output)


def _busy() -> list[str]:
    """A warning where other work disturbs the timings."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < cores:
        return []
    return [f"This machine was busy (load {load:.1f} on {cores} cores): measure costs again when it is not."]
