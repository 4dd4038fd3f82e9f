"""Pictures of a router, for its MLflow run."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from router.decision import GENERAL
from router.evaluation import reliability
from router.prompts import FOREIGN
from training.distillation.pictures import BLUE, GREY, ORANGE, canvas
from training.routing.measure import Measured, Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bin = tuple[float, float, int]
Confusion = tuple[list[str], list[str], list[list[int]]]

_MOST_EXAMPLES = 20  # of each pair of topic and draft
_MOST_CHARACTERS = 400


def draw_confusion(found: Measured, sample: Sample) -> "Figure":
    """Prompts by topic and by the draft that they got."""
    figure, axes = canvas()
    plot_confusion(axes, confusion(found, sample.groups))
    return figure


def confusion(found: Measured, groups: Sequence[str]) -> Confusion:
    """Topics and ``out_of_scope``, then drafts, the general one last, then how many prompts of which got which."""
    rows = sorted(set(groups), key=lambda name: (name == FOREIGN, name))
    drafts = [*(name for name in rows if name != FOREIGN), GENERAL]
    counts = [[0] * len(drafts) for _ in rows]
    for decision, group in zip(found.decisions, groups, strict=True):
        draft = decision.draft if decision.draft in drafts else GENERAL
        counts[rows.index(group)][drafts.index(draft)] += 1
    return rows, drafts, counts


def plot_confusion(axes: "Axes", found: Confusion) -> None:
    """Counts, shaded by the share of a row."""
    groups, drafts, counts = found
    shares = np.array(counts) / np.maximum(np.sum(counts, axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.5 else "black"
        count = counts[row][column]
        axes.text(column, row, str(count) if count else "", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(drafts)), drafts, rotation=30, ha="right")
    axes.set_yticks(range(len(groups)), groups)
    axes.set_xlabel("draft")
    axes.set_ylabel("prompt of")
    axes.spines[:].set_visible(False)


def draw_reliability(found: Measured, sample: Sample) -> "Figure":
    """Share right against confidence, bins of equally many prompts; grey: where they are the same."""
    figure, axes = canvas()
    plot_reliability(axes, reliability_of(found, sample.groups))
    return figure


def reliability_of(found: Measured, groups: Sequence[str]) -> list[Bin]:
    """Mean confidence in the most probable topic, share right and size, ten bins; prompts of topics it knows alone."""
    pairs = [
        (decision.alternatives[0], group)
        for decision, group in zip(found.decisions, groups, strict=True)
        if any(topic == group for topic, _ in decision.alternatives)
    ]
    sure = np.array([share for (_, share), _ in pairs])
    return reliability(sure, np.array([topic == group for (topic, _), group in pairs], dtype=np.bool_))


def plot_reliability(axes: "Axes", bins: Sequence[Bin]) -> None:
    """Share right against confidence with two standard errors; grey: where they are the same."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    # Two standard errors of a share, none being better known than one prompt allows.
    errors = [2 * max(share * (1 - share), 0.25 / size) ** 0.5 / size**0.5 for _, share, size in bins]
    axes.errorbar([x for x, _, _ in bins], [y for _, y, _ in bins], errors, color=BLUE, marker="o", markersize=4)
    axes.set_xlabel(f"confidence in the most probable topic, {sum(size for _, _, size in bins)} prompts")
    axes.set_ylabel("share right")


def draw_speedup(speedups: dict[str, dict[str, float]]) -> "Figure":
    """Expected speed-up by topic of several routers, as `training.routing.report.speedups` has it."""
    figure, axes = canvas()
    names = list(speedups)
    groups = list(speedups[names[0]])
    width = 0.8 / len(names)
    for place, (name, colour) in enumerate(zip(names, (ORANGE, GREY, BLUE), strict=False)):
        at = np.arange(len(groups)) + (place - (len(names) - 1) / 2) * width
        axes.bar(at, [speedups[name][group] for group in groups], width, label=name, color=colour)
    axes.axhline(1.0, color="black", linewidth=0.6)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("expected speed-up")
    axes.legend(frameon=False)
    return figure


def wrong_examples(found: Measured, sample: Sample) -> bytes:
    """A page of prompts that got a wrong draft, the surest mistakes first."""
    wrong: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for decision, group, text, right in zip(
        found.decisions, sample.groups, sample.texts, found.marks.right, strict=True
    ):
        if not right:
            wrong.setdefault((group, decision.draft), []).append((decision.confidence, text))
    parts = ["<!doctype html><meta charset=utf-8><title>Where the router is wrong</title>"]
    parts.append("<style>body{font:14px sans-serif;max-width:60em;margin:2em auto}td{padding:.2em .6em}</style>")
    parts.append(
        f"<h1>Where the router is wrong</h1><p>{sum(map(len, wrong.values()))} of {len(sample.texts)} prompts."
    )
    for (group, draft), examples in sorted(wrong.items(), key=lambda item: -len(item[1])):
        parts.append(f"<h2>{_shown(group)} → {_shown(draft)}: {len(examples)}</h2><table>")
        surest = sorted(examples, reverse=True)[:_MOST_EXAMPLES]
        parts += [f"<tr><td>{sure:.2f}<td>{_shown(text[:_MOST_CHARACTERS])}" for sure, text in surest]
        parts.append("</table>")
    return "\n".join(parts).encode("utf-8", "replace")


def _shown(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
