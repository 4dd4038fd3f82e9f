"""Replay of several drafts over recorded answers, by topic and draft, with intervals over requests."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from decoding.costs import StepCosts
from decoding.trace import SpeculationTrace
from training.replay.acceptance import Acceptance
from training.replay.recursion import expected_by_position, expected_costs, expected_runs, mean_acceptance

Row = dict[str, Any]

ALL_TOPICS = "all"
_DRAWS = 2000


def summarise(
    draft: str, traces: Sequence[SpeculationTrace], acceptances: Sequence[Acceptance], longest: int, costs: StepCosts
) -> list[Row]:
    """A row a topic, and one for all together where there are several.

    Each row has requests, tokens, alpha, ``tokens_per_target_run`` for every length from 1 on, the length of least
    expected cost, and what it comes to there: cost a token and ``predicted_speedup`` (plain decoding costs 1 a token).
    Keys ending in ``_low`` and ``_high`` are 95 % bootstrap intervals over requests, at a length that stays the same.
    """
    topics = sorted({trace.topic or "-" for trace in traces})
    rows = []
    for topic in [*topics, *([ALL_TOPICS] if len(topics) > 1 else [])]:
        chosen = [
            one for trace, one in zip(traces, acceptances, strict=True) if topic in (ALL_TOPICS, trace.topic or "-")
        ]
        rows.append({"topic": topic, "draft": draft, **figures(chosen, longest, costs)})
    return rows


def figures(acceptances: Sequence[Acceptance], longest: int, costs: StepCosts) -> Row:
    """What a row of `summarise` says, for the answers of one topic."""
    runs, cost = expected_runs(acceptances, longest), expected_costs(acceptances, longest, costs)
    tokens = torch.tensor([float(each.num_tokens) for each in acceptances], dtype=torch.float64)[:, None]
    accepted = torch.stack([each.reachable.sum() for each in acceptances])[:, None]
    reachable = torch.tensor([float(len(each.reachable)) for each in acceptances], dtype=torch.float64)[:, None]
    best = int(cost.sum(0).argmin())
    by_position = expected_by_position(acceptances, longest).acceptance
    return {
        "requests": len(acceptances),
        "tokens": int(tokens.sum()),
        "alpha": mean_acceptance(acceptances),
        **_interval("alpha", accepted, reachable),
        "tokens_per_target_run": (tokens.sum() / runs.sum(0)).tolist(),
        **_interval("tokens_per_target_run", tokens, runs),
        "acceptance_by_position": [None if each != each else each for each in by_position.tolist()],
        "best_num_draft_tokens": best + 1,
        "cost_per_token": float(cost[:, best].sum() / tokens.sum()),
        "predicted_speedup": float(tokens.sum() / cost[:, best].sum()),
        **_interval("predicted_speedup", tokens, cost[:, best : best + 1]),
    }


def _interval(key: str, top: Tensor, bottom: Tensor) -> Row:
    """Of sum(top) / sum(bottom), both [requests, 1 or more]; a number where they have one column, else a list."""
    drawn = torch.randint(len(top), (_DRAWS, len(top)), generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(_DRAWS, len(top), dtype=torch.float64)
    weights.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    ratios = (weights @ top) / (weights @ bottom)
    low, high = torch.nanquantile(ratios, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0).tolist()
    many = len(low) > 1
    return {f"{key}_low": low if many else low[0], f"{key}_high": high if many else high[0]}
