"""`polydraft topics discover`: how many drafts there should be, as a table and a picture."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks.pictures import BLUE, GREY, INK, ORANGE, canvas
from benchmarks.results import Report, Row, shown
from training.topics.discovery import STABILITY_SEEDS, Discovery
from training.topics.partitions import LENGTH, Spending

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS: dict[str, Callable[[Row], str]] = {
    "K": lambda row: str(row["k"]),
    "alpha": lambda row: f"{row['alpha']:.3f}",
    "tokens/run": lambda row: f"{row['tokens_per_target_run']:.3f}",
    "over K = 1": lambda row: _gain(row, "gain"),
    "further draft": lambda row: "-" if row["before"] == row["k"] else _gain(row, "further"),
    "not the best draft": lambda row: f"{row['routing_error']:.0%}",
    "regret/1000": lambda row: f"{row['regret_runs_per_1000_tokens']:.1f}",
    "MB": lambda row: f"{row['drafts_mb']:.1f}",
    "smallest": lambda row: str(row["smallest_cluster"]),
    "stability": lambda row: f"{row['stability']:.2f}",
    "agreement": lambda row: shown(row["agreement"]),
    "purity": lambda row: shown(row["purity"]),
}


def discovery_report(discovery: Discovery, command: str) -> Report:
    """Search, or find what was searched before in the work folder."""
    rows, found = discovery.rows()
    return Report(
        name="topics-discover",
        command=command,
        rows=rows,
        columns=COLUMNS,
        draw=draw_discovery,
        notes=[_said(found), *_names(rows), _meaning(discovery.nursery.spending)],
        facts={**found, "seeds": list(discovery.seeds), "train": len(discovery.train)},
    )


def _gain(row: Row, key: str) -> str:
    return f"{row[key]:+.1%} ({row[f'{key}_low']:+.1%} to {row[f'{key}_high']:+.1%})"


def _said(found: Row) -> str:
    k, low, high = (found[f"recommended{end}"] for end in ("", "_low", "_high"))
    return (
        f"Recommended: {k} draft{'s' if k > 1 else ''} (95 %: {low} to {high}); {_gain(found, 'gain')} over one. "
        "Rule: from the fewest up, a number takes the place of the one recommended so far if its gain over that is "
        "more than noise, which is the distance from the gain to the lower end of its paired interval at 1 - 0.05/m "
        "for m comparisons; the interval is of the same rule in bootstrap draws of the prompts."
    )


def _names(rows: Sequence[Row]) -> list[str]:
    """Whether the clusters are the topics that people named."""
    if rows[0]["agreement"] is None:
        return []
    best = max(rows, key=lambda row: float(row["agreement"]))
    return [
        f"Names: {best['names']} topics; clusters agree best with them at K = {best['k']} "
        f"(adjusted Rand {best['agreement']:.2f}, purity {best['purity']:.2f})"
    ]


def _meaning(spending: Spending) -> str:
    return (
        f"Every K: {spending.steps} training steps in all from the same parent, shared out by the clusters' tokens; "
        f"k = {LENGTH}, exact replay of held-out answers, each by its nearest cluster's draft. Not the best draft: "
        f"share of prompts that another of the K drafts would have served in fewer runs (the best of K noisy counts, "
        f"so it errs upwards); regret: those runs. Stability: mean adjusted Rand index of {len(STABILITY_SEEDS)} seeds."
    )


def draw_discovery(rows: Sequence[Row]) -> "Figure":
    """Gain over one draft with its interval; beside it stability, agreement and routing error."""
    figure, (worth, clusters) = canvas(2, width=11)
    numbers = [row["k"] for row in rows]
    gains = [100 * row["gain"] for row in rows]
    spread = [[100 * abs(row["gain"] - row[f"gain_{end}"]) for row in rows] for end in ("low", "high")]
    worth.errorbar(numbers, gains, yerr=spread, color=BLUE, marker="o", markersize=4, capsize=2, linewidth=1.3)
    worth.axhline(0, color=INK, linewidth=0.8)
    worth.set_xlabel("drafts")
    worth.set_ylabel("more tokens a run than one draft, %")
    clusters.plot(numbers, [row["stability"] for row in rows], color=INK, label="stability")
    if rows[0]["agreement"] is not None:
        clusters.plot(numbers, [row["agreement"] for row in rows], color=ORANGE, label="agreement with names")
    clusters.plot(numbers, [row["routing_error"] for row in rows], color=GREY, label="not the best draft")
    clusters.set_xlabel("clusters")
    clusters.legend(frameon=False)
    return figure
