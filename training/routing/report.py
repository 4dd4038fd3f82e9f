"""What a command says of routers: figures side by side, for people and for programs."""

from dataclasses import asdict
from typing import Any

import numpy as np

from training.routing.gate import Verdict
from training.routing.measure import Answered, Measured, Sample

Document = dict[str, Any]
_ROWS = (
    ("right draft", "topic/right"),
    ("topic right", "topic/accuracy"),
    ("ECE", "calibration/ece"),
    ("  if calibrated", "calibration/ece_if_calibrated"),
    ("Brier, topics", "calibration/brier"),
    ("Brier, with scope", "calibration/brier_with_scope"),
    ("AUROC of scope", "scope/auroc"),
    ("foreign rejected", "scope/foreign_rejected"),
    ("topics rejected", "scope/topic_rejected"),
    ("uncertain", "topic/uncertain"),
    ("regret/1000 tokens", "regret/routed"),
    ("oracle runs/token", "regret/oracle_runs"),
    ("expected speed-up", "regret/speedup"),
)


def figures(found: Measured, sample: Sample) -> dict[str, float]:
    """Everything known of a router on a sample, under the names that the registry charts it by."""
    return {**found.figures(), **(_regret(found, sample.answered) if sample.answered is not None else {})}


def _regret(found: Measured, answered: Answered) -> dict[str, float]:
    """Target runs a thousand tokens more than with the cheapest draft for every prompt."""
    chosen = answered.chosen(found.decisions)
    known = ~np.isnan(chosen) & ~np.isnan(answered.costs).any(axis=1) & (answered.tokens > 0)
    tokens = float(answered.tokens[known].sum())
    if not tokens:
        return {}
    best, cost = float(answered.costs[known].min(axis=1).sum()), float(chosen[known].sum())
    return {
        "regret/routed": 1000 * (cost - best) / tokens,
        "regret/oracle_runs": best / tokens,
        "regret/speedup": tokens / cost,
        "regret/prompts": float(known.sum()),
    }


def speedups(found: Measured, sample: Sample) -> dict[str, float]:
    """Expected speed-up over plain decoding by topic, where answers are known."""
    if sample.answered is None:
        return {}
    chosen = sample.answered.chosen(found.decisions)
    result = {}
    for group in sorted(set(sample.groups)):
        mine = np.array([each == group for each in sample.groups]) & ~np.isnan(chosen) & (sample.answered.tokens > 0)
        if mine.any():
            result[group] = float(sample.answered.tokens[mine].sum() / chosen[mine].sum())
    return result


def lines(columns: dict[str, dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: figures of routers by their labels, most important first; what nobody has is left out."""
    rows = [
        [name, *(f"{found[key]:.4f}" if key in found else "-" for found in columns.values())]
        for name, key in _ROWS
        if any(key in found for found in columns.values())
    ]
    return ["", *columns], rows


def confusion(found: Measured) -> tuple[list[str], list[list[str]]]:
    """Prompts by topic and by most probable topic."""
    if found.report is None:
        return [], []
    topics = found.report.topics
    rows = zip(topics, found.report.confusion.tolist(), strict=True)
    return ["prompt of", *topics], [[topic, *map(str, row)] for topic, row in rows]


def verdict_document(verdict: Verdict) -> Document:
    """The verdict for programs."""
    return {**asdict(verdict), "outcome": verdict.outcome.value}
