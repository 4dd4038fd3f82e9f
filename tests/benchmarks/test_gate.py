"""`polydraft gate simulate` counts promotions by method and says whether the gate keeps its word."""

import pytest
import torch

from benchmarks.gate import passed, run_gate_simulation
from training.gate.simulation import NEVER, SCENARIOS, Simulated


def found(**at):
    """Simulations in which the gate promoted after so many requests: none, or those that ``at`` gives by name."""
    results = []
    for scenario in SCENARIOS:
        requests = [NEVER] * 20 if scenario.gain == 0 else [100] * 20
        replaced = at.get(scenario.name.replace(" ", "_").replace("+.", ""), [])
        requests[: len(replaced)] = replaced
        results.append(Simulated(scenario, {"gate": torch.tensor(requests)}))
    return results


@pytest.mark.parametrize(
    ("at", "good"),
    [
        ({}, True),
        ({"identity_copy": [50]}, False),
        ({"no_difference": [50]}, True),
        ({"no_difference": [50, 60]}, False),
        ({"alpha_02": [150] * 20}, True),
        ({"alpha_02": [151] * 20}, False),
        ({"alpha_02": [NEVER] * 20}, False),
    ],
)
def test_passing_means_every_promise_is_kept(at, good):
    """Noise in at most one of twenty, a copy never, a gain of .02 within 150 requests in the median."""
    assert passed(found(**at)) is good


def test_a_small_simulation_has_a_row_a_method_and_a_picture(tmp_path):
    """Shares with intervals, and the share promoted by number of requests, which only grows."""
    report = run_gate_simulation(4, 0)
    assert len(report.rows) == 4 * len(SCENARIOS)
    for row in report.rows:
        assert row["promoted_share_low"] <= row["promoted_share"] <= row["promoted_share_high"]
        assert row["promoted_within"] == sorted(row["promoted_within"])
        assert row["promoted_within"][-1] == row["promoted_share"]
    assert [path.suffix for path in report.save(tmp_path)] == [".json", ".md", ".png"]
