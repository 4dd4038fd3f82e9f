"""Whether a router's probabilities are true, and whether it tells what no topic is like: figures, bars, pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.pictures import canvas
from benchmarks.results import Report, Row, shown
from training.routing.measure import Measured, Sample
from training.routing.pictures import confusion, plot_confusion, plot_reliability, reliability_of
from training.routing.report import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ECE, LEAST_AUROC = 0.03, 0.98

COLUMNS = {
    "router": lambda row: row["router"],
    "right draft": lambda row: shown(row["figures"].get("topic/right"), "{:.1%}"),
    "topic right": lambda row: shown(row["figures"].get("topic/accuracy"), "{:.1%}"),
    "ECE": lambda row: shown(row.get("ece"), "{:.4f}"),
    "if calibrated": lambda row: shown(row.get("ece_if_calibrated"), "{:.4f}"),
    "Brier": lambda row: shown(row.get("brier"), "{:.4f}"),
    "AUROC of scope": lambda row: shown(row.get("scope_auroc"), "{:.4f}"),
    "foreign rejected": lambda row: shown(row["figures"].get("scope/foreign_rejected"), "{:.1%}"),
    "topics rejected": lambda row: shown(row["figures"].get("scope/topic_rejected"), "{:.1%}"),
}


def quality(found: Measured, groups: Sequence[str]) -> Row:
    """Calibration and scope of a router on prompts of ``groups``; nothing where no topic, or nothing foreign, is there.

    Keys: ``ece`` (ten bins of equal mass), ``ece_if_calibrated`` on as many prompts, ``brier`` over the topics of topic
    prompts, ``scope_auroc`` of topic prompts against foreign ones, how many of both, ``reliability`` (confidence, share
    right and size of each bin), and whether the bars are reached: ``calibrated`` is None where the calibration error is
    above the bar, and a perfectly calibrated router's would be too on so few prompts.
    """
    report = found.report
    if report is None:
        return {}
    is_calibrated = report.ece <= MOST_ECE
    can_tell = is_calibrated or report.ece_if_calibrated <= MOST_ECE
    return {
        "ece": report.ece,
        "ece_if_calibrated": report.ece_if_calibrated,
        "brier": report.brier,
        "scope_auroc": report.auroc,
        "topic_prompts": report.num_in_topic,
        "foreign_prompts": report.num_foreign,
        "calibrated": is_calibrated if can_tell else None,
        "knows_scope": report.auroc >= LEAST_AUROC,
        "reliability": reliability_of(found, groups),
    }


def quality_notes(who: str, known: Mapping[str, Any]) -> list[str]:
    """The figures with their bars, in words."""
    if not known:
        return [f"{who}: calibration and scope need prompts of its topics, and of none"]
    words = {True: "at most", False: "MORE THAN", None: "too few prompts to tell from"}
    scope = "at least" if known["knows_scope"] else "LESS THAN"
    return [
        f"{who}: ECE {known['ece']:.4f}, {words[known['calibrated']]} {MOST_ECE} (a perfectly calibrated router would "
        f"show {known['ece_if_calibrated']:.4f} on as many), Brier {known['brier']:.4f}, "
        f"{known['topic_prompts']} prompts of its topics",
        f"{who}: AUROC of scope {known['scope_auroc']:.4f}, {scope} {LEAST_AUROC}, "
        f"against {known['foreign_prompts']} prompts of no topic",
    ]


def quality_report(name: str, command: str, sides: Mapping[str, Measured], sample: Sample) -> Report:
    """Dated table and pictures of routers, by their labels, on one sample: `router evaluate` and `router compare`."""
    known = {label: quality(found, sample.groups) for label, found in sides.items()}
    rows: list[Row] = [
        {
            "router": label,
            "figures": figures(found, sample),
            **known[label],
            "confusion": confusion(found, sample.groups),
        }
        for label, found in sides.items()
    ]
    notes = [f"{len(sample.groups)} held-out prompts"]
    return Report(
        name=name,
        command=command,
        rows=rows,
        columns=COLUMNS,
        draw=draw_quality,
        notes=notes + [note for label in sides for note in quality_notes(label, known[label])],
    )


def draw_quality(rows: Sequence[Row]) -> "Figure":
    """For each router: who got which draft, and reliability where it is known."""
    shown_rows = [(row, key) for row in rows for key in ("confusion", "reliability") if row.get(key)]
    figure, panels = canvas(len(shown_rows), width=5.5 * len(shown_rows), height=4.2)
    for axes, (row, key) in zip(panels, shown_rows, strict=True):
        if key == "confusion":
            plot_confusion(axes, row[key])
        else:
            plot_reliability(axes, row[key])
        axes.set_title(row["router"], fontsize=10)
    return figure
