"""A draft's own temperature, fitted by replay and folded into its weights, so that serving need not know of it."""

from collections.abc import Sequence
from typing import Any

import torch

from decoding.model import LanguageModel
from decoding.trace import SpeculationTrace
from training.replay.temperature import fit_draft_temperature

_FEWEST, _MOST = 24, 32  # drawn answers that a temperature is fitted on
_LEAST_GAIN = 0.005


def fitted_temperature(draft: LanguageModel, traces: Sequence[SpeculationTrace], length: int) -> float:
    """The temperature at which ``draft`` replays best on answers that it learned from; 1 where that gains little.

    One number cannot overfit them by much, and the gate looks at other answers anyway.
    """
    drawn = [trace for trace in traces if not trace.sampling.is_greedy][-_MOST:]
    if len(drawn) < _FEWEST:
        return 1.0
    fitted = fit_draft_temperature(draft, drawn, length)
    return fitted.temperature if fitted.gain >= _LEAST_GAIN else 1.0


@torch.no_grad()
def fold_temperature(student: Any, temperature: float) -> None:
    """Divide the logits of ``student`` by ``temperature``: the scale of its last norm is in front of a linear head."""
    student.model.norm.weight /= temperature
