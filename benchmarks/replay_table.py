"""How `polydraft replay` shows what it found: columns for people, and a picture."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.pictures import BLUE, GREEN, GREY, ORANGE, PINK, SKY, YELLOW, canvas
from benchmarks.results import Row, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 8  # tokens of a proposal


def _with_half(row: Row, key: str, form: str) -> str:
    return f"{form.format(row[key])} ± {form.format((row[key + '_high'] - row[key + '_low']) / 2)}"


def _at(length: int) -> Callable[[Row], str]:
    return lambda row: f"{row['tokens_per_target_run'][length - 1]:.2f}"


COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "topic": lambda row: row["topic"],
    "draft": lambda row: row["draft"],
    "requests": lambda row: str(row["requests"]),
    "tokens": lambda row: str(row["tokens"]),
    "alpha": lambda row: _with_half(row, "alpha", "{:.3f}"),
    **{f"k={length}" if length > 1 else "tokens/run k=1": _at(length) for length in range(1, LONGEST + 1)},
    "best k": lambda row: str(row["best_num_draft_tokens"]),
    "predicted": lambda row: _with_half(row, "predicted_speedup", "{:.2f}") + "x",
}
TEMPERATURE_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "draft temperature": lambda row: shown(row["draft_temperature"]),
    "gain": lambda row: shown(row["draft_temperature_gain"], "{:+.1%}"),
}


def draw_replay(rows: Sequence[Row]) -> "Figure":
    """Tokens a target run over the proposal length, a panel a topic, a line a draft with its interval."""
    topics = list(dict.fromkeys(row["topic"] for row in rows))
    drafts = list(dict.fromkeys(row["draft"] for row in rows))
    colours = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY)
    figure, panels = canvas(len(topics), width=1.5 + 2.4 * len(topics))
    lengths, key = range(1, LONGEST + 1), "tokens_per_target_run"
    top = max(max(row[f"{key}_high"]) for row in rows)
    for axes, topic in zip(panels, topics, strict=True):
        for row in (row for row in rows if row["topic"] == topic):
            colour = colours[drafts.index(row["draft"]) % len(colours)]
            axes.plot(lengths, row[key], color=colour, marker="o", markersize=3, label=row["draft"])
            axes.fill_between(lengths, row[f"{key}_low"], row[f"{key}_high"], color=colour, alpha=0.15, linewidth=0)
        axes.set_title(topic, fontsize=10)
        axes.set_xlabel("tokens proposed, k")
        axes.set_ylim(1, 1 + 1.05 * (top - 1))
    panels[0].set_ylabel("tokens a target run")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=7, frameon=False)
    return figure
