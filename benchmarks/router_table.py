"""How `polydraft bench router` shows what it found: columns for people, and a picture."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.pictures import BLUE, GREEN, GREY, INK, ORANGE, PINK, SKY, canvas
from benchmarks.results import Row, shown
from training.routing.pictures import plot_reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"oracle": GREEN, "topic label": ORANGE, "deployed": BLUE, "general": GREY, "random": PINK}


def _with_half(figures: Mapping[str, float], key: str, form: str) -> str:
    return f"{form.format(figures[key])} ± {form.format((figures[key + '_high'] - figures[key + '_low']) / 2)}"


def _of(group: str) -> Callable[[Row], str]:
    def regret(row: Row) -> str:
        return _with_half(row["by_group"][group], "regret", "{:.1f}") if group in row["by_group"] else "-"

    return regret


COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "router": lambda row: row["router"],
    "regret": _of("all"),
    "misleading": _of("misleading"),
    "out of scope": _of("out_of_scope"),
    "below random": lambda row: _with_half(row, "below_random", "{:.1f}"),
    "accept": lambda row: f"{row['mean_acceptance_length']:.2f}",
    "of oracle": lambda row: f"{row['share_of_oracle']:.1%}",
    "interval": lambda row: f"{row['share_of_oracle_low']:.1%} to {row['share_of_oracle_high']:.1%}",
    "best draft": lambda row: shown(row.get("best_share"), "{:.0%}"),
    "worst topic": lambda row: _worst(row),
}


def _worst(row: Row) -> str:
    topics = {name: each["regret"] for name, each in row["by_group"].items() if name not in _NO_TOPICS}
    worst = max(topics, key=lambda name: topics[name], default="-")
    return f"{worst} {topics[worst]:.1f}" if worst in topics else worst


_NO_TOPICS = ("all", "misleading", "out_of_scope", "general")


def draw_router(rows: Sequence[Row]) -> "Figure":
    """Regret by router with its interval: held-out prompts of all topics, and misleading ones; then reliability."""
    sure = next((row for row in rows if row.get("reliability")), None)
    figure, panels = canvas(2 if sure is None else 3, width=11 if sure is None else 15, height=4.2)
    names = [row["router"] for row in rows if row["router"] != "oracle"]
    for axes, group in zip(panels, ("all", "misleading"), strict=False):
        for place, name in enumerate(names):
            found = next(row for row in rows if row["router"] == name)["by_group"][group]
            axes.barh(place, found["regret"], color=_COLOURS.get(name, SKY))
            axes.plot([found["regret_low"], found["regret_high"]], [place, place], color=INK, linewidth=1.2)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("regret, target runs a thousand tokens")
        axes.set_title(f"{group} ({rows[0]['by_group'][group]['prompts']} prompts)", fontsize=10)
    if sure is not None:
        plot_reliability(panels[2], sure["reliability"])
        panels[2].set_title(f"{sure['router']}: reliability", fontsize=10)
    return figure
