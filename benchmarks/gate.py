"""`polydraft gate simulate`: how often the gate promotes noise, and how fast it sees a better draft."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track

from benchmarks.pictures import BLUE, GREEN, GREY, INK, ORANGE, canvas
from benchmarks.results import Report, Row
from training.gate import GateRule, GateSequence, judge
from training.gate.simulation import (
    BASE_ALPHA,
    NEVER,
    SCENARIOS,
    SPREAD,
    Scenario,
    Simulated,
    draw_costs,
    promoted_within,
    simulate,
    wilson_interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = range(10, 801, 10)
_COLOURS = {"gate": BLUE, "betting": GREEN, "token test": GREY, "token test, peeking": ORANGE}


def run_gate_simulation(promotions: int, seed: int) -> Report:
    """Simulate ``promotions`` promotions of every scenario and count by method."""
    torch.set_num_threads(1)
    rule = GateRule()
    found = [simulate(scenario, promotions, rule, seed) for scenario in track(SCENARIOS, "gate", transient=True)]
    examples = {scenario.name: _example(scenario, rule, seed) for scenario in SCENARIOS}
    return Report(
        name="gate",
        command=f"polydraft gate simulate --promotions {promotions} --seed {seed}",
        rows=[_row(each, method) for each in found for method in each.promoted_at],
        columns=COLUMNS,
        draw=lambda rows: draw_gate(rows, examples),
        notes=[
            f"{promotions} promotions each; alpha {BASE_ALPHA:g}, its logit spread {SPREAD:g} over requests; the gate "
            f"looks after every request from {rule.burn_in} on and refuses at {rule.most_requests}",
            "the token test pools tokens of 400 requests to each draft; peeking, it looks every 20 requests",
        ],
        facts={"seed": seed, "passed": passed(found)},
    )


def passed(found: Sequence[Simulated]) -> bool:
    """Whether the gate keeps what is asked of it: noise at most 5 %, a copy never, +.02 within 150 in the median."""
    by_name = {each.scenario.name: each for each in found}
    median = by_name["alpha +.02"].median("gate")
    return (
        by_name["identity copy"].share("gate") == 0
        and by_name["no difference"].share("gate") <= 0.05
        and by_name["no difference, drafts disagree"].share("gate") <= 0.05
        and median is not None
        and median <= 150
    )


def _row(found: Simulated, method: str) -> Row:
    requests = found.promoted_at[method]
    promoted, trials = int((requests < NEVER).sum()), len(requests)
    low, high = wilson_interval(promoted, trials)
    return {
        "scenario": found.scenario.name,
        "true_gain": found.scenario.gain,
        "disagreement": found.scenario.disagreement,
        "method": method,
        "promotions": trials,
        "promoted": promoted,
        "promoted_share": promoted / trials,
        "promoted_share_low": low,
        "promoted_share_high": high,
        "median_requests": found.median(method),
        "promoted_within": promoted_within(requests, _LOOKS),
    }


COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "candidate": lambda row: row["scenario"],
    "method": lambda row: row["method"],
    "promoted": lambda row: f"{row['promoted_share']:.1%}",
    "95 % interval": lambda row: f"{row['promoted_share_low']:.1%} to {row['promoted_share_high']:.1%}",
    "median requests": lambda row: "-" if row["median_requests"] is None else str(row["median_requests"]),
}


def _example(scenario: Scenario, rule: GateRule, seed: int) -> GateSequence:
    """The first simulated promotion, as the gate sees it."""
    drawn = draw_costs(scenario, 1, rule.most_requests, torch.Generator().manual_seed(seed))
    return judge(drawn[0][0], drawn[1][0], drawn[4][0], rule=rule).sequence


def draw_gate(rows: Sequence[Row], examples: Mapping[str, GateSequence]) -> "Figure":
    """Share promoted by number of requests without and with a gain, and what the gate saw in one promotion of each."""
    figure, panels = canvas(4, width=14)
    for axes, name in zip(panels[:2], ("no difference", "alpha +.02"), strict=True):
        for row in (row for row in rows if row["scenario"] == name):
            style: dict[str, Any] = {"color": _COLOURS[row["method"]], "label": row["method"]}
            axes.plot(_LOOKS, row["promoted_within"], linestyle="--" if row["method"] == "betting" else "-", **style)
        axes.set_title(f"{name}: share promoted", fontsize=10)
        axes.set_ylim(-0.02, 1.02)
    panels[0].axhline(0.05, color=INK, linewidth=0.8, linestyle="--")
    for axes, name in zip(panels[2:], ("no difference", "alpha +.02"), strict=True):
        draw_sequence(axes, examples[name])
        axes.set_title(f"{name}: one promotion", fontsize=10)
    for axes in panels:
        axes.set_xlabel("requests")
    panels[0].legend(frameon=False, fontsize=8)
    panels[2].legend(frameon=False, fontsize=8)
    return figure


def draw_sequence(axes: "Axes", sequence: GateSequence) -> None:
    """What the gate saw of one candidate: mean advantage, its bounds, and the margin."""
    requests = range(1, len(sequence.difference) + 1)
    axes.plot(requests, sequence.difference, color=BLUE, label="target runs saved a token")
    axes.fill_between(requests, sequence.lower, sequence.upper, color=BLUE, alpha=0.15, linewidth=0, label="bounds")
    axes.plot(requests, sequence.delta, color=INK, linewidth=0.8, linestyle="--", label="margin")
    if sequence.control is not None:
        axes.plot(requests, sequence.control, color=GREEN, label="saved over the control")
    seen = sequence.upper.isfinite()
    if bool(seen.any()):
        room = float((sequence.upper - sequence.lower)[seen].max())
        axes.set_ylim(float(sequence.lower[seen].min()) - 0.1 * room, float(sequence.upper[seen].max()) + 0.1 * room)
