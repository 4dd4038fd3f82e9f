"""What the gate saw, for the run of a candidate."""

from typing import TYPE_CHECKING

from training.distillation.pictures import BLUE, GREY, ORANGE, canvas
from training.gate import GateSequence

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_gate(sequence: GateSequence) -> "Figure":
    """Target runs a token saved, with bounds, after each held-out request; dashed: what the lower one had to pass."""
    figure, axes = canvas()
    requests = range(1, len(sequence.difference) + 1)
    bounded = sequence.lower.isfinite()
    axes.plot(requests, sequence.difference.tolist(), color=BLUE, label="saved a token, mean so far")
    axes.fill_between(
        requests, sequence.lower.tolist(), sequence.upper.tolist(), where=bounded.tolist(), color=GREY, alpha=0.3
    )
    axes.plot(requests, sequence.delta.tolist(), color=ORANGE, linestyle="--", label="margin")
    axes.set_xlabel("held-out requests")
    axes.set_ylabel("target runs")
    axes.legend(frameon=False)
    return figure
