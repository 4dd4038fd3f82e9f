"""`polydraft experiment`: what learning is worth, measured."""

import logging
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from commands.options import AsJson, ConfigFile, Output, ReportFolder, deliver, numbers
from configs.console import hint
from configs.errors import ConfigError


class Experiment(StrEnum):
    """What can be asked."""

    SPECIALISE = "specialise"
    CAPACITY = "capacity"
    WIDTH = "width"
    IMBALANCE = "imbalance"
    EPOCHS = "epochs"
    LOSSES = "losses"
    SIZE = "size"
    SHIFT = "shift"
    NEWTOPIC = "newtopic"


def experiment(
    name: Annotated[Experiment, typer.Argument(help="What to find out.")],
    data: Annotated[Path, typer.Option(help="Folder of JSON lines by topic, with prompt, response and split.")],
    work: Annotated[Path, typer.Option(help="Where answers and drafts are kept; run again to resume.")] = Path(
        "out/experiments"
    ),
    seeds: Annotated[str, typer.Option(help="Of the trainings, separated by commas.")] = "1,2,3",
    quick: Annotated[bool, typer.Option(help="Minutes, to see it run; its figures mean nothing.")] = False,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """What learning is worth, in counts on held-out answers, with intervals.

    specialise: a draft a topic against one for all that was trained as long; new and wrong ones beside them.
    capacity: the same at the shipped size, a quarter and a sixteenth of it.
    width: six drafts against one as large as all of them.
    imbalance: topics at 80, 15 and 5 percent of the mix, and a topic that arrives late.
    epochs: an untuned draft after 0, 1 and 2 passes over a topic's answers.
    losses: every distillation loss, on a draft that goes on from the general one.
    size: a small distilled draft beside an untuned one of seven times its size.
    shift: streams whose topic changes, before drafts that learn while they serve and drafts that do not (one seed).
    newtopic: a topic that nothing has learned, streamed at a running server until it has a draft there (one seed).
    """
    from benchmarks.experiments import command_of, run_experiment
    from benchmarks.newtopic import run_newtopic
    from benchmarks.shift import run_shift
    from serving.config import deployment_of
    from serving.plan import make_plan
    from training.experiments.budget import FULL, QUICK
    from training.experiments.material import Material

    if not data.is_dir():
        raise ConfigError(f"{data} is no folder", do="pass --data a folder with one JSONL file a topic")
    chosen = tuple(numbers(int, "--seeds", seeds))
    budget = replace(QUICK if quick else FULL, seeds=chosen)
    logging.getLogger().setLevel(logging.INFO)
    place = work / ("quick" if quick else "full")
    material = Material(data, Path(make_plan(deployment_of(config)).target), place, budget)
    command = command_of(name.value, data, quick, chosen)
    if name is Experiment.SHIFT:
        found = run_shift(material, command, hint)
    elif name is Experiment.NEWTOPIC:
        found = run_newtopic(material, command, hint)
    else:
        found = run_experiment(name.value, material, command, hint)
    deliver(found, report, as_json, output)
