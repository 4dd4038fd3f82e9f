"""Exact replay: what any draft would have cost on recorded answers, from one pass of the draft over their text."""

from training.replay.acceptance import Acceptance, acceptances, acceptances_at, greedy_acceptances
from training.replay.recursion import (
    PositionCounts,
    best_length,
    expected_by_position,
    expected_costs,
    expected_drafted,
    expected_runs,
    mean_acceptance,
    tokens_per_target_run,
)

__all__ = [
    "Acceptance",
    "PositionCounts",
    "acceptances",
    "acceptances_at",
    "best_length",
    "expected_by_position",
    "expected_costs",
    "expected_drafted",
    "expected_runs",
    "greedy_acceptances",
    "mean_acceptance",
    "tokens_per_target_run",
]
