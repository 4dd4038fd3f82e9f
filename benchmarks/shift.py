"""`polydraft experiment shift`: drafts before streams whose topic shifts, as a table and curves."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks.pictures import BLUE, GREEN, GREY, INK, ORANGE, PINK, YELLOW
from benchmarks.results import Report, Row, shown
from training.experiments.budget import Budget, Updates
from training.experiments.material import Material
from training.experiments.shift import (
    CAST,
    EARLY,
    GATED,
    POOLED,
    ROUTED,
    SPECIALISED,
    TOGETHER,
    TUNING,
    Shift,
    offline,
)
from training.experiments.shift_figures import DEFICIT_WINDOW, RECOVERED, RECOVERY_WINDOW
from training.experiments.shift_systems import LENGTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOON = 500  # requests of a new topic within which a draft that learns must be good at it
NEVER_BEHIND = 0.01  # of alpha, more than which it must not fall behind a draft that does not
CALM = ("smooth, two", "smooth, three", "mixed", "return")  # where it must not
LEARNING = (ROUTED, GATED, TOGETHER)
COLUMNS: dict[str, Callable[[Row], str]] = {
    "stream": lambda row: row["stream"],
    "system": lambda row: row["system"],
    "alpha": lambda row: f"{row['alpha']:.3f}",
    "tokens/run": lambda row: f"{row['tokens_per_target_run']:.2f}",
    "new topic": lambda row: shown(row["new_alpha"], "{:.3f}"),
    "its last 100": lambda row: shown(row["new_alpha_last"], "{:.3f}"),
    "to recover": lambda row: _recovered(row),
    "behind pooled": lambda row: f"{row['deficit_to_pooled']:+.3f}",
    "behind specialised": lambda row: f"{row['deficit_to_specialised']:+.3f}",
    "published": lambda row: str(row["published"]),
}
_COLOURS = {
    POOLED: GREY,
    SPECIALISED: INK,
    ROUTED: BLUE,
    GATED: GREEN,
    TOGETHER: ORANGE,
    offline(10): YELLOW,
    offline(100): PINK,
}


def run_shift(material: Material, command: str, progress: Callable[[str], None]) -> Report:
    """Serve all streams, or find them served in the work folder."""
    rows = Shift(material, CAST, progress).rows()
    return Report(
        name="experiment-shift",
        command=command,
        rows=rows,
        columns=COLUMNS,
        draw=draw_shift,
        notes=[*bars(rows), _meaning(), _spent(material.budget)],
        facts={"seed": material.budget.seeds[0]},
    )


def bars(rows: Sequence[Row]) -> list[str]:
    """What is asked of drafts that learn, and whether each does it."""
    found = []
    for system in LEARNING:
        mine = {row["stream"]: row for row in rows if row["system"] == system}
        after = mine["sharp"]["records_to_recover"]
        soon = after is not None and after <= SOON
        found.append(f"{system}, sharp: {_recovered(mine['sharp'])} of {SOON} requests to recover: {_met(soon)}")
        for key, other in (("deficit_to_pooled", POOLED), ("deficit_to_specialised", SPECIALISED)):
            deficit, worst = max((mine[stream][key], stream) for stream in CALM)
            found.append(
                f"{system}, {', '.join(CALM)}: at worst {deficit:+.3f} behind {other} ({worst}): "
                f"{_met(deficit <= NEVER_BEHIND)}"
            )
    return found


def draw_shift(rows: Sequence[Row]) -> "Figure":
    """Alpha over requests, a panel a stream, a line a system."""
    from matplotlib.figure import Figure

    streams = list(dict.fromkeys(row["stream"] for row in rows))
    figure = Figure(figsize=(13, 6.5), dpi=160, layout="constrained")
    panels = list(figure.subplots(2, (len(streams) + 1) // 2, sharey=True).flat)
    lines = {}
    for axes, stream in zip(panels, streams, strict=False):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(stream, fontsize=10)
        axes.set_xlabel("requests")
        of_stream = {row["system"]: row["curve"] for row in rows if row["stream"] == stream}
        for system, colour in _COLOURS.items():
            if points := of_stream.get(system, []):
                ends, alphas = ([point[key] for point in points] for key in ("requests", "alpha"))
                style = "-" if system in LEARNING else "--"
                lines[system] = axes.plot(ends, alphas, style, color=colour, linewidth=1.3, label=system)[0]
    for spare in panels[len(streams) :]:
        spare.set_axis_off()
    panels[0].set_ylabel("alpha by window")
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines), frameon=False)
    return figure


def _recovered(row: Row) -> str:
    if row["new_alpha"] is None:
        return "-"
    return "never" if row["records_to_recover"] is None else str(row["records_to_recover"])


def _met(answer: bool) -> str:
    return "met" if answer else "NOT met"


def _meaning() -> str:
    return (
        f"Every request is scored by the draft that serves it, k = {LENGTH}, greedy, before it is learned from. "
        f"New topic: {CAST.late}, of which the pooled draft ({', '.join(EARLY)}) has seen nothing, and which has no "
        f"draft of its own at first. To recover: its requests until the end of the first window of "
        f"{RECOVERY_WINDOW} of them with {RECOVERED:.0%} of the alpha of “{offline(100)}”. Behind: the most over any "
        f"window of {DEFICIT_WINDOW} requests. “{ROUTED}” and “{TOGETHER}” begin as the pooled draft and serve every "
        f"candidate; “{GATED}” begins as the specialised drafts and serves what passes the gate."
    )


def _spent(budget: Budget) -> str:
    shift = budget.shift
    return (
        f"One seed. {shift.requests} requests a stream, answers of at most {shift.answer_tokens} tokens. Updates "
        f"(those of the full run were chosen on {TUNING.first} and {TUNING.late}): {_updates(shift.published)}; "
        f"with the gate {_updates(shift.gated)}, {shift.gated.heldout_share:.0%} of the prompts held out. "
        f"Drafts before the stream: {budget.text_tokens:,} tokens of text a topic, {budget.pooled_epochs:g} passes "
        f"over the early topics, {budget.topic_epochs:g} more over one topic."
    )


def _updates(how: Updates) -> str:
    steps = f"{how.steps} steps at {how.learning_rate:g}, average {how.ema:g}"
    return f"every {how.every_requests} requests of a draft {steps}"
