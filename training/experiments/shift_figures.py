"""Figures of a stream that was served: curves, how soon a new topic is served well, how far behind it ever was."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.experiments.shift_systems import ACCEPTED, PROPOSABLE, RUNS, TOKENS

RECOVERY_WINDOW, DEFICIT_WINDOW = 100, 200  # requests
RECOVERED = 0.9  # of the control's alpha


def alpha(scores: Tensor) -> float:
    """Mean chance of acceptance over all tokens of some requests, [n, 4]."""
    return float(scores[:, ACCEPTED].sum() / scores[:, PROPOSABLE].sum())


def tokens_per_run(scores: Tensor) -> float:
    """Tokens a target run, a ratio of sums."""
    return float(scores[:, TOKENS].sum() / scores[:, RUNS].sum())


def curve(scores: Tensor, window: int) -> list[dict[str, Any]]:
    """Alpha and tokens a target run of consecutive windows; ``requests`` counts to a window's end."""
    return [
        {
            "requests": start + len(part),
            "alpha": alpha(part),
            "tokens_per_target_run": tokens_per_run(part),
        }
        for start in range(0, len(scores), window)
        for part in [scores[start : start + window]]
    ]


def moving_alpha(scores: Tensor, window: int) -> Tensor:
    """Alpha of every ``window`` consecutive requests, or of all if there are fewer, [windows]."""
    width = min(window, len(scores))
    sums = torch.cat([torch.zeros(1, 4, dtype=scores.dtype), scores.cumsum(0)])
    inside = sums[width:] - sums[:-width]
    return inside[:, ACCEPTED] / inside[:, PROPOSABLE]


def records_to_recover(mine: Tensor, control: Tensor, window: int = RECOVERY_WINDOW) -> int | None:
    """Requests until the first window in which ``mine`` has nine tenths of the control's alpha, to the window's end.

    Never fewer than a window holds, and None if there is no such window.

    Args:
        mine, control: scores of the same requests, all of the new topic, from its first on, [n, 4].
    """
    if len(mine) < window:
        return None
    good = moving_alpha(mine, window) >= RECOVERED * moving_alpha(control, window)
    return int(good.nonzero()[0]) + window if bool(good.any()) else None


def worst_deficit(mine: Tensor, other: Tensor, window: int = DEFICIT_WINDOW) -> float:
    """How far the alpha of ``mine`` is behind that of ``other`` where it is furthest, over any window of requests."""
    return float((moving_alpha(other, window) - moving_alpha(mine, window)).max())


def of_topic(scores: Tensor, stream: Sequence[str], topic: str) -> Tensor:
    """The rows of one topic's requests."""
    return scores[[place for place, each in enumerate(stream) if each == topic]]
