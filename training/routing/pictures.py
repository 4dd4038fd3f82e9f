"""Pictures of a router, for its MLflow run."""

import html
from typing import TYPE_CHECKING

import numpy as np

from router.decision import GENERAL
from router.evaluation import reliability
from router.prompts import FOREIGN
from training.distillation.pictures import BLUE, GREY, ORANGE, canvas
from training.routing.measure import Measured, Sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_EXAMPLES = 20  # of each pair of topic and draft
_MOST_CHARACTERS = 400


def draw_confusion(found: Measured, sample: Sample) -> "Figure":
    """Prompts by topic and by the draft that they got."""
    groups = sorted(set(sample.groups), key=lambda name: (name == FOREIGN, name))
    drafts = [*(name for name in groups if name != FOREIGN), GENERAL]
    counts = np.zeros((len(groups), len(drafts)), dtype=np.int64)
    for decision, group in zip(found.decisions, sample.groups, strict=True):
        draft = decision.draft if decision.draft in drafts else GENERAL
        counts[groups.index(group), drafts.index(draft)] += 1
    figure, axes = canvas()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count) if count else "", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(drafts)), drafts, rotation=30, ha="right")
    axes.set_yticks(range(len(groups)), groups)
    axes.set_xlabel("draft")
    axes.set_ylabel("prompt of")
    axes.spines[:].set_visible(False)
    return figure


def draw_reliability(found: Measured, sample: Sample) -> "Figure":
    """Share right against confidence, bins of equally many prompts; grey: where they are the same."""
    pairs = [
        (decision.alternatives[0], group)
        for decision, group in zip(found.decisions, sample.groups, strict=True)
        if decision.alternatives and group != FOREIGN
    ]
    sure = np.array([share for (_, share), _ in pairs])
    right = np.array([topic == group for (topic, _), group in pairs])
    figure, axes = canvas()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    bins = reliability(sure, right)
    # Two standard errors of a share, none being better known than one prompt allows.
    errors = [2 * max(share * (1 - share), 0.25 / size) ** 0.5 / size**0.5 for _, share, size in bins]
    axes.errorbar([x for x, _, _ in bins], [y for _, y, _ in bins], errors, color=BLUE, marker="o", markersize=4)
    axes.set_xlabel(f"confidence in the most probable topic, {len(pairs)} prompts")
    axes.set_ylabel("share right")
    return figure


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
