"""Drafts side by side on the same recorded answers: one table for every experiment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from decoding.costs import StepCosts
from training.experiments.arms import Arm, train
from training.experiments.intervals import gain_interval
from training.experiments.material import TEMPERATURES, Material
from training.experiments.scoring import Score, score
from training.experiments.shapes import Shape, measure_shapes
from training.starter.corpus import TOPICS

LENGTHS = (4, 8)

Row = dict[str, Any]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """Which drafts are compared on a topic.

    Attributes:
        arms: the drafts by name, for a topic and a seed; a name may be missing for some seeds.
        control: the name that gains are taken over.
        topics: whose recorded answers count.
    """

    arms: Callable[[str, int], Mapping[str, Arm]]
    control: str
    topics: Sequence[str] = TOPICS


def compare(material: Material, comparison: Comparison, progress: Progress = lambda _: None) -> list[Row]:
    """A row for each topic, temperature, length and draft; figures are counts, gains are paired by request.

    Drafts that were trained before are found in the work folder, so a comparison that was stopped goes on.
    """
    scores: dict[str, dict[str, dict[int, Score]]] = {topic: {} for topic in comparison.topics}
    shapes: dict[str, Shape] = {}
    for seed in material.budget.seeds:
        for topic in comparison.topics:
            traces = {temperature: material.held_out[temperature][topic] for temperature in TEMPERATURES}
            for name, arm in comparison.arms(topic, seed).items():
                progress(f"{topic}: {name}, seed {seed}")
                shapes[name] = arm.shape
                scores[topic].setdefault(name, {})[seed] = score(train(arm, material), traces)
    costs = measure_shapes(material.target, material.work, set(shapes.values()))
    return [
        {
            "topic": topic,
            "temperature": temperature,
            "num_draft_tokens": length,
            "draft": name,
            **figures,
            **_predicted(figures, costs[shapes[name]], length),
        }
        for topic, by_name in scores.items()
        for temperature in TEMPERATURES
        for length in LENGTHS
        for name, mine in by_name.items()
        for figures in [_figures(mine, by_name[comparison.control], temperature, length)]
    ]


def _predicted(figures: Row, costs: StepCosts, length: int) -> Row:
    """What the counts come to in time on this machine, by the cost model."""
    c, w = costs.draft_step(1), costs.target_run(length + 1)
    return {"c": c, "w": w, "predicted_speedup": figures["tokens_per_target_run"] / (w + length * c)}


def _figures(mine: Mapping[int, Score], control: Mapping[int, Score], temperature: float, length: int) -> Row:
    """What stands in a row; the gain compares the seeds that both have."""
    tokens = next(iter(mine.values())).tokens(temperature)
    runs = torch.stack([each.runs(temperature, length) for each in mine.values()])
    before = torch.stack([control[seed].runs(temperature, length) for seed in mine])
    gain, low, high = gain_interval(tokens, runs, before)
    return {
        "requests": len(tokens),
        "seeds": len(mine),
        "tokens": int(tokens.sum()),
        "alpha": sum(each.alpha(temperature) for each in mine.values()) / len(mine),
        "tokens_per_target_run": float((tokens.sum() / runs.sum(dim=-1)).mean()),
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
    }
