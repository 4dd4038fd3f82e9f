"""Pictures of a distillation, for its MLflow run: few colours that colour-blind readers can tell apart."""

from typing import TYPE_CHECKING

from training.distillation.measure import Figures
from training.distillation.trainer import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8C959F"  # Okabe and Ito (2008)


def draw_alpha(history: History, parent: Figures) -> "Figure":
    """Alpha on development text over steps, at temperature 0 and 1; dashed: the draft that training began with."""
    figure, axes = canvas()
    steps = [step for step, _ in history.validations]
    for temperature, colour in ((0, BLUE), (1, ORANGE)):
        values = [_alpha(figures, temperature) for _, figures in history.validations]
        axes.plot(steps, values, color=colour, marker="o", markersize=3, label=f"temperature {temperature}")
        axes.axhline(_alpha(parent, temperature), color=colour, linestyle="--", linewidth=0.8)
    axes.set_xlabel("step")
    axes.set_ylabel("alpha")
    axes.legend(frameon=False)
    return figure


def draw_loss(history: History) -> "Figure":
    """Training loss of every step, and a running mean of fifty."""
    figure, axes = canvas()
    losses = history.losses
    steps = range(1, len(losses) + 1)
    axes.plot(steps, losses, color=GREY, linewidth=0.5)
    smooth = [sum(losses[max(0, step - 50) : step]) / min(step, 50) for step in steps]
    axes.plot(steps, smooth, color=BLUE, label="mean of the last fifty")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return figure


def draw_positions(now: Figures, parent: Figures) -> "Figure":
    """Acceptance by position in a draft, at temperature 0 and 1; pale: the draft that training began with."""
    figure, axes = canvas()
    for label, figures, strength in (("before, ", parent, 0.35), ("", now, 1.0)):
        for temperature, colour in ((0, BLUE), (1, ORANGE)):
            values = figures.by_position_t1 if temperature else figures.by_position_t0
            places = range(1, len(values) + 1)
            name = f"{label}temperature {temperature}"
            axes.plot(places, values, color=colour, alpha=strength, marker="o", label=name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("position in the draft")
    axes.set_ylabel("accepted")
    axes.legend(frameon=False)
    return figure


def _alpha(figures: Figures, temperature: int) -> float:
    return figures.alpha_t1 if temperature else figures.alpha_t0


def canvas() -> "tuple[Figure, Axes]":
    """A figure with one panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=160, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
