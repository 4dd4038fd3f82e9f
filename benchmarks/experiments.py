"""`polydraft experiment`: what experiments on learning found, as tables and pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pictures import BLUE, GREEN, GREY, INK, ORANGE, PINK, SKY, YELLOW, canvas
from benchmarks.results import Report, Row
from training.experiments.budget import Budget
from training.experiments.comparison import Comparison, compare
from training.experiments.epochs import epochs, size
from training.experiments.imbalance import imbalance, late
from training.experiments.losses import losses
from training.experiments.material import Material
from training.experiments.specialise import capacity, specialise, width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENTS: dict[str, Callable[[Budget], dict[str, Comparison]]] = {  # and the parts that each is made of
    "specialise": lambda budget: {"": specialise(budget)},
    "capacity": capacity,
    "width": lambda budget: {"": width(budget)},
    "imbalance": lambda budget: {"80/15/5": imbalance(budget), "late topic": late(budget)},
    "losses": lambda budget: {"": losses(budget)},
    "epochs": lambda budget: {"": epochs(budget)},
    "size": lambda budget: {"": size(budget)},
}
COLUMNS: dict[str, Callable[[Row], str]] = {
    "part": lambda row: row["part"],
    "topic": lambda row: row["topic"],
    "T": lambda row: f"{row['temperature']:g}",
    "k": lambda row: str(row["num_draft_tokens"]),
    "draft": lambda row: row["draft"],
    "seeds": lambda row: str(row["seeds"]),
    "requests": lambda row: str(row["requests"]),
    "alpha": lambda row: f"{row['alpha']:.3f}",
    "tokens/run": lambda row: f"{row['tokens_per_target_run']:.2f}",
    "gain": lambda row: f"{row['gain']:+.1%}",
    "95 % interval": lambda row: f"{row['gain_low']:+.1%} to {row['gain_high']:+.1%}",
    "c": lambda row: f"{row['c']:.3f}",
    "predicted": lambda row: f"{row['predicted_speedup']:.2f}x",
}
_COLOURS = (GREY, SKY, BLUE, YELLOW, PINK, GREEN, ORANGE)


def run_experiment(name: str, material: Material, command: str, progress: Callable[[str], None]) -> Report:
    """Train and score all drafts of one experiment, or find them in the work folder."""
    parts = EXPERIMENTS[name](material.budget)
    rows = [
        {"part": part, **row} for part, comparison in parts.items() for row in compare(material, comparison, progress)
    ]
    columns = {title: show for title, show in COLUMNS.items() if title != "part" or len(parts) > 1}
    controls = ", ".join(sorted({f"“{comparison.control}”" for comparison in parts.values()}))
    return Report(
        name=f"experiment-{name}",
        command=command,
        rows=rows,
        columns=columns,
        draw=draw_experiment,
        notes=[
            f"Gains in tokens a target run over {controls}, paired by request; intervals over requests "
            f"(2,000 bootstrap draws), the mean over seeds inside. Answers to validation prompts, replayed exactly. "
            f"c: a draft step over a target run; predicted: tokens/run over w(k + 1) + k c, both measured here.",
            _spent(material.budget),
        ],
    )


def command_of(name: str, data: Path, quick: bool, seeds: Sequence[int]) -> str:
    """The command that repeats an experiment."""
    options = " --quick" if quick else f" --seeds {','.join(map(str, seeds))}"
    return f"polydraft experiment {name} --data {data.name}{options}"


def draw_experiment(rows: Sequence[Row]) -> "Figure":
    """Tokens a target run by topic at the longest length, a panel a temperature (or a part), a bar a draft."""
    longest = max(row["num_draft_tokens"] for row in rows)
    parts = list(dict.fromkeys(row["part"] for row in rows))
    greedy = [row for row in rows if row["num_draft_tokens"] == longest and row["temperature"] == 0]
    drawn = [row for row in rows if row["num_draft_tokens"] == longest and row["temperature"] > 0]
    panels = [
        (f"{part + ', ' if part else ''}T = {group[0]['temperature']:g}", [row for row in group if row["part"] == part])
        for part in parts
        for group in (greedy, drawn)
    ]
    figure, axes = canvas(len(panels), width=5.5 * len(panels))
    names = list(dict.fromkeys(row["draft"] for row in rows))
    for each, (title, group) in zip(axes, panels, strict=True):
        topics = list(dict.fromkeys(row["topic"] for row in group))
        for index, name in enumerate(names):
            place = {row["topic"]: row["tokens_per_target_run"] for row in group if row["draft"] == name}
            centres = [topics.index(topic) + 0.8 * ((index + 0.5) / len(names) - 0.5) for topic in place]
            each.bar(centres, list(place.values()), width=0.8 / len(names), color=_COLOURS[index], label=name)
        each.axhline(1, color=INK, linewidth=0.8)
        each.set_xticks(range(len(topics)), topics)
        each.set_title(f"{title}, k = {longest}", fontsize=10)
    axes[0].set_ylabel("tokens a target run")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _spent(budget: Budget) -> str:
    return (
        f"{budget.text_tokens:,} tokens of text a topic, answers of at most {budget.answer_tokens}; "
        f"{budget.base_epochs:g} passes over the corpus, {budget.pooled_epochs:g} over all answers, "
        f"{budget.topic_epochs:g} more; {budget.held_out} held-out answers a topic and temperature."
    )
