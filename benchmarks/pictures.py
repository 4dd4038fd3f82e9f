"""Pictures of results: few colours that colour-blind readers can tell apart, no decoration."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.results import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY, INK = (  # Okabe and Ito (2008)
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C959F",
    "#17202B",
)
METHOD_COLOURS = {
    "plain": GREY,
    "lookup": YELLOW,
    "random": PINK,
    "pooled": SKY,
    "routed": BLUE,
    "oracle": GREEN,
    "own length": GREEN,
    "forced": ORANGE,
    "single": SKY,
    "mixed": GREEN,
}


def canvas(columns: int = 1, width: float = 8.0, height: float = 3.6) -> "tuple[Figure, list[Axes]]":
    """A figure with ``columns`` panels side by side; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_topics(rows: Sequence[Row]) -> "Figure":
    """Tokens a target run and speed-up by topic, a bar a method."""
    figure, panels = canvas(2, width=11)
    methods = [method for method in METHOD_COLOURS if method != "plain" and _of(rows, method=method)]
    for axes, key, label in zip(
        panels, ("tokens_per_target_run", "speedup"), ("tokens a target run", "speed-up over plain"), strict=True
    ):
        topics = list(dict.fromkeys(row["topic"] for row in rows))
        for place, method in _side_by_side(len(methods), methods):
            values = {row["topic"]: row[key] for row in _of(rows, method=method)}
            centres = [index + place for index, topic in enumerate(topics) if topic in values]
            heights = [values[topic] for topic in topics if topic in values]
            axes.bar(centres, heights, width=0.8 / len(methods), color=METHOD_COLOURS[method], label=method)
        axes.axhline(1, color=INK, linewidth=0.8)
        axes.set_xticks(range(len(topics)), topics)
        axes.set_ylabel(label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
    return figure


def draw_load(rows: Sequence[Row]) -> "Figure":
    """Total tokens a second, and seconds to the first token, by clients at once."""
    figure, (left, right) = canvas(2, width=9)
    for method in ("plain", "routed"):
        mine = _of(rows, method=method)
        clients = [row["concurrency"] for row in mine]
        style: dict[str, Any] = {"color": METHOD_COLOURS[method], "marker": "o", "label": method}
        left.plot(clients, [row["tokens_per_second"] for row in mine], **style)
        right.plot(clients, [row["first_token_p50"] * 1e3 for row in mine], **style)
    for axes, label in ((left, "tokens a second, all clients"), (right, "first token, median ms")):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({row["concurrency"] for row in rows}), minor=False)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("clients at once")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    left.legend(frameon=False)
    return figure


def draw_theory(rows: Sequence[Row]) -> "Figure":
    """Measured beside predicted speed-up over alpha."""
    figure, (axes,) = canvas(width=5.2)
    forced = _of(rows, method="forced")
    alphas = [row["forced_alpha"] for row in forced]
    axes.plot(alphas, [row["predicted_speedup"] for row in forced], color=INK, linestyle="--", label="predicted")
    spread = [
        [row["speedup"] - row["speedup_min"] for row in forced],
        [row["speedup_max"] - row["speedup"] for row in forced],
    ]
    measured = [row["speedup"] for row in forced]
    axes.errorbar(alphas, measured, yerr=spread, color=ORANGE, marker="o", capsize=3, label="measured")
    axes.axhline(1, color=GREY, linewidth=0.8)
    axes.set_xticks(alphas, [f"{row['forced_alpha']:g}\nk = {row['num_draft_tokens']}" for row in forced])
    axes.set_xlabel("alpha, forced; k tokens proposed")
    axes.set_ylabel("speed-up over plain")
    axes.legend(frameon=False)
    return figure


def draw_step(rows: Sequence[Row]) -> "Figure":
    """Milliseconds a step by part, a bar a method, in groups by batch."""
    figure, (axes,) = canvas(width=9)
    batches = sorted({row["concurrency"] for row in rows})
    methods = list(dict.fromkeys(row["method"] for row in rows))
    ticks: dict[float, str] = {}
    for index, batch in enumerate(batches):
        for place, method in _side_by_side(len(methods), methods):
            (row,) = _of(rows, method=method, concurrency=batch)
            bottom = 0.0
            for part, colour in (("target", BLUE), ("draft", ORANGE), ("other", GREY)):
                label = part if not ticks else None
                axes.bar(index + place, row[f"{part}_ms"], 0.7 / len(methods), bottom, color=colour, label=label)
                bottom += row[f"{part}_ms"]
            ticks[index + place] = method
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=90, fontsize=8)
    for index, batch in enumerate(batches):
        below: dict[str, Any] = {"xytext": (0, -56), "textcoords": "offset points"}
        axes.annotate(f"batch {batch}", (index, 0), ha="center", annotation_clip=False, **below)
    axes.set_ylabel("milliseconds a step")
    axes.legend(frameon=False, loc="upper left")
    return figure


def draw_peers(rows: Sequence[Row]) -> "Figure":
    """Tokens a second of every engine, a bar a way of decoding."""
    measured = [row for row in rows if row["tokens_per_second"] is not None]
    figure, (axes,) = canvas(height=0.8 + 0.32 * len(measured))
    for place, row in enumerate(measured):
        axes.barh(place, row["tokens_per_second"], color=METHOD_COLOURS[row["method"]])
        axes.annotate(
            f"{row['tokens_per_second']:.0f}",
            (row["tokens_per_second"], place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    names = [f"{row['engine']}, {_way(row)}" for row in measured]
    axes.set_yticks(range(len(measured)), names)
    axes.invert_yaxis()
    axes.set_xlabel("tokens a second")
    return figure


def _way(row: Row) -> str:
    if row["num_draft_tokens"] is None:
        return str(row["method"])
    return f"{row['method']}, k = {row['num_draft_tokens']}"


def _of(rows: Sequence[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _side_by_side(count: int, names: Sequence[str]) -> Iterator[tuple[float, str]]:
    """Places of ``count`` bars around 0."""
    for index, name in enumerate(names):
        yield (index - (count - 1) / 2) * 0.8 / count, name
