"""`polydraft topics drift`: what has drifted, as a table and a picture."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks.pictures import BLUE, GREY, INK, ORANGE, canvas
from benchmarks.results import Report, Row, shown
from training.topics.drift import EARLIER, LEVEL, NEWEST, TOLERATED, Drift, drifted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS: dict[str, Callable[[Row], str]] = {
    "topic": lambda row: row["topic"],
    "requests": lambda row: str(row["requests"]),
    "energy": lambda row: shown(row["energy_distance"], "{:.4f}"),
    "p": lambda row: shown(row["p_value"], "{:.4f}"),
    "queries": lambda row: _said(row["queries_drift"]),
    "draft": lambda row: row.get("draft") or "-",
    "registered": lambda row: shown(row["alpha_registered"], "{:.3f}"),
    "alpha now": lambda row: shown(row["alpha"], "{:.3f}"),
    "wealth": lambda row: shown(row["wealth"], "{:.3g}"),
    "acceptance": lambda row: _said(row["acceptance_drift"]),
}


def drift_report(drift: Drift, command: str) -> Report:
    """Look at the traffic."""
    rows = drift.rows()
    found = drifted(rows)
    return Report(
        name="topics-drift",
        command=command,
        rows=rows,
        columns=COLUMNS,
        draw=draw_drift,
        notes=[f"Drifted: {', '.join(found) or 'nothing'}", _meaning()],
        facts={"drifted": found, "level": LEVEL},
    )


def _said(answer: bool | None) -> str:
    return "-" if answer is None else "DRIFT" if answer else "no"


def _meaning() -> str:
    return (
        f"Queries: energy test of the newest {NEWEST} requests of a topic against the {EARLIER} before them, by "
        f"permutation. Acceptance: a bet on exact replays of the newest {NEWEST} answers that alpha is more than "
        f"{TOLERATED:g} below what the version was registered with. All tests together err with probability "
        f"{LEVEL:g} at most where nothing drifts (Bonferroni; wealth against 1 / level). -: too little to tell."
    )


def draw_drift(rows: Sequence[Row]) -> "Figure":
    """Alpha as registered and now, by topic."""
    figure, (axes,) = canvas(1, width=7)
    known = [row for row in rows if row["alpha"] is not None]
    places = range(len(known))
    axes.bar([p - 0.2 for p in places], [r["alpha_registered"] for r in known], 0.4, color=GREY, label="registered")
    colours = [ORANGE if row["acceptance_drift"] else BLUE for row in known]
    axes.bar([p + 0.2 for p in places], [r["alpha"] for r in known], 0.4, color=colours, label="now")
    axes.set_xticks(list(places), [row["topic"] for row in known])
    axes.set_ylabel("alpha")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.legend(frameon=False)
    return figure
