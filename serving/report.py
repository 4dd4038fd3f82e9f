"""The `polydraft` key of a reply: who drafted, why, and what came of it."""

from collections import Counter
from typing import Any

from decoding.request import Origin, SpeculationCounts
from serving.wire import Routing

_DIGITS = 4


def report(routing: Routing | None, counts: SpeculationCounts, origins: Counter[Origin]) -> dict[str, Any]:
    """The routing decision, the counts and the figures taken from them.

    Args:
        origins: shown tokens by writer.
    """
    return {
        "topic": routing.topic if routing else None,
        "draft": routing.draft if routing else "none",
        "confidence": routing.confidence if routing else None,
        "reason": routing.reason if routing else "undecided",
        "mean_acceptance_length": _rounded(counts.mean_acceptance_length),
        "draft_acceptance_rate": _rounded(counts.draft_acceptance_rate),
        "num_spec_steps": counts.num_drafts,
        "num_target_runs": counts.num_target_runs,
        "tokens_per_target_run": _rounded(counts.tokens_per_target_run),
        "accepted_per_position": counts.num_accepted_tokens_per_pos,
        "num_accepted_tokens": counts.num_accepted_tokens,
        "num_draft_tokens": counts.num_draft_tokens,
        "num_copied_tokens": counts.num_copied_tokens,
        "origins": {origin.value: count for origin, count in origins.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
