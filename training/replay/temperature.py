"""A draft's own temperature, fitted by replay: one number a draft that costs nothing and changes no answer.

A draft that was trained by forward KL is often flatter than what serves it best. Whatever it draws from, the ratio of
the rejection rule is of that law, so that answers stay the target's (`learning.md`, section 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from decoding.model import LanguageModel
from decoding.trace import SpeculationTrace
from training.replay.acceptance import acceptances_at
from training.replay.recursion import tokens_per_target_run

GRID = tuple(1.05**step for step in range(-24, 15))  # 0.31 to 1.98, in steps of 5 %; 1 is among them


@dataclass(frozen=True, slots=True)
class FittedTemperature:
    """The draft temperature that replays best, and tokens a target run at every one that was tried."""

    temperature: float
    tokens_per_target_run: dict[float, float]

    @property
    def best(self) -> float:
        """Tokens a target run at the fitted temperature."""
        return self.tokens_per_target_run[self.temperature]

    @property
    def gain(self) -> float:
        """Relative gain in tokens a target run over a draft left as it is."""
        return self.best / self.tokens_per_target_run[1.0] - 1


def fit_draft_temperature(
    draft: LanguageModel, traces: Sequence[SpeculationTrace], length: int = 4
) -> FittedTemperature:
    """The draft temperature with the most tokens a target run on ``traces``, with chains of ``length`` tokens.

    Fit it on other traces than those that it is reported on. Greedy answers do not depend on it and are left out.

    Raises:
        ValueError: no answer was drawn at a temperature above 0.
    """
    drawn = [trace for trace in traces if not trace.sampling.is_greedy]
    if not drawn:
        raise ValueError("all answers are greedy: they do not depend on a draft's temperature")
    found = acceptances_at(draft, drawn, GRID)
    rates = {each: float(tokens_per_target_run(one, length)[-1]) for each, one in zip(GRID, found, strict=True)}
    return FittedTemperature(max(rates, key=lambda each: rates[each]), rates)
