"""What target runs and draft steps cost on this machine, as labels need it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from decoding.config import ModelConfig
from decoding.costs import StepCosts, measure_costs
from decoding.model import LanguageModel
from router.costs import Prices


def measured_prices(target: LanguageModel, drafts: Mapping[str, LanguageModel], longest: int) -> Prices:
    """Prices at batch 1. Target runs are measured once and drafts once a shape: drafts of one shape cost the same.

    Args:
        drafts: all of a table, in its order.
    """
    measured: dict[ModelConfig, StepCosts] = {}
    for draft in drafts.values():
        if shape_of(draft) not in measured:
            measured[shape_of(draft)], _ = measure_costs(target, draft)
    first = next(iter(measured.values()))
    steps = tuple(measured[shape_of(draft)].draft_step(1) for draft in drafts.values())
    return Prices(steps, tuple(first.target_run(rows) for rows in range(1, longest + 2)))


def given_prices(c: float, w: Sequence[float], drafts: int, longest: int) -> Prices:
    """Prices from numbers: one c for all drafts, w of 1, 2, 3 and so on rows, with the last step going on."""
    costs = StepCosts(dict(enumerate(w, start=1)), {1: c})
    return Prices((c,) * drafts, tuple(costs.target_run(rows) for rows in range(1, longest + 2)))


def shape_of(draft: LanguageModel) -> ModelConfig:
    """Which tokens a trimmed head has changes nothing, how many does."""
    kept = draft.config.output_token_ids
    return replace(draft.config, output_token_ids=None if kept is None else tuple(range(len(kept))))
