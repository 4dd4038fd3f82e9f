"""A table of costs by group and draft, for people."""

from typing import Any

import numpy as np

from router.costs import CostTable, Prices

ALL_GROUPS = "all"
_TIE = 1e-9  # costs closer than this are equal: sums of floats


def summarise(table: CostTable, prices: Prices) -> list[dict[str, Any]]:
    """A row a group and draft, and rows for all groups together.

    Each has prompts, tokens, ``cost_per_token`` in plain target runs (plain decoding: 1), ``tokens_per_target_run`` at
    the draft's one best length, and ``best_share`` of prompts on which no draft is cheaper; prompts with several best
    ones count in equal parts for each.
    """
    costs, lengths = table.costs(prices), table.best_lengths(prices)
    is_best = costs <= np.nanmin(costs, axis=1, keepdims=True) + _TIE
    shares = is_best / is_best.sum(axis=1, keepdims=True)
    groups = np.array(table.groups)
    rows = []
    for group in [*sorted(set(table.groups)), *([ALL_GROUPS] if len(set(table.groups)) > 1 else [])]:
        chosen = np.ones(len(table), dtype=bool) if group == ALL_GROUPS else groups == group
        for place, (draft, version) in enumerate(zip(table.drafts, table.versions, strict=True)):
            scored = chosen & table.scored[:, place]
            tokens = int(table.tokens[scored].sum())
            runs = table.runs[scored, place, lengths[place]].sum()
            rows.append(
                {
                    "group": group or "-",
                    "draft": draft,
                    "version": version,
                    "prompts": int(scored.sum()),
                    "tokens": tokens,
                    "num_draft_tokens": lengths[place],
                    "cost_per_token": float(costs[scored, place].sum() / tokens) if tokens else None,
                    "tokens_per_target_run": float(tokens / runs) if tokens else None,
                    "best_share": float(shares[chosen, place].mean()),
                }
            )
    return rows
