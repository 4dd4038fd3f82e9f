"""Where a request's running acceptance starts, and how soon it forgets that."""

import pytest

from decoding.acceptance import AcceptanceEstimate, Prior
from decoding.planner import ProposalPlanner
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from drafts.model_drafter import ModelDrafter
from tests.toys import ToyModel


class TestPrior:
    def test_alpha_lies_on_the_line_between_the_figures_at_0_and_1(self) -> None:
        """Hotter than that, the figure at 1 is the nearest there is; without one, greedy answers must do."""
        prior = Prior(0.8, 0.6)
        assert [prior.at(temperature) for temperature in (0.0, 0.5, 1.0, 1.7)] == pytest.approx([0.8, 0.7, 0.6, 0.6])
        assert Prior(0.8).at(1.0) == 0.8

    def test_without_positions_all_are_alike(self) -> None:
        assert AcceptanceEstimate(Prior(0.5)).survival(3) == pytest.approx([0.5, 0.25, 0.125])

    def test_positions_are_taken_as_they_were_counted_in_greedy_answers(self) -> None:
        """Given that a position was reached, later ones are better here; the running alpha is their mean."""
        prior = Prior(0.66, None, (0.5, 0.4, 0.36))
        assert prior.chances(0.0) == pytest.approx([0.5, 0.8, 0.9])
        estimate = AcceptanceEstimate(prior)
        assert estimate.alpha == pytest.approx((0.5 + 0.4 + 0.36) / (1 + 0.5 + 0.4))
        first, second = estimate.survival(2)
        assert second / first > first

    def test_at_other_temperatures_positions_are_scaled_as_alpha_is(self) -> None:
        """Half way between 0.6 and 0.3 is three quarters."""
        prior = Prior(0.6, 0.3, (0.5, 0.4, 0.36))
        assert prior.chances(0.5) == pytest.approx([0.375, 0.6, 0.675])
        assert AcceptanceEstimate(prior, 0.5).alpha < AcceptanceEstimate(prior).alpha

    def test_no_chance_is_certain(self) -> None:
        """However much better sampled answers go."""
        assert max(Prior(0.5, 0.9, (0.7, 0.6)).chances(1.0)) < 1


def test_evidence_outweighs_any_prior() -> None:
    """After thirty refusals little is left of a good one, with positions or without."""
    for prior in (Prior(0.9), Prior(0.9, None, (0.9, 0.8, 0.7, 0.65))):
        estimate = AcceptanceEstimate(prior)
        for _ in range(30):
            estimate.add(0, was_rejected=True)
        assert estimate.survival(1)[0] < 0.1


def test_a_sampled_request_starts_from_the_figure_at_its_temperature() -> None:
    """What the planner begins an estimate with is the drafter's prior and the request's temperature."""
    drafter = ModelDrafter(ToyModel(5, 0), Prior(0.8, 0.4))
    planner = ProposalPlanner({"model": drafter}, 4)
    for temperature, alpha in ((0.0, 0.8), (0.5, 0.6), (1.0, 0.4)):
        sampling = SamplingParams(max_tokens=8, temperature=temperature)
        request = Request(f"at {temperature}", [1, 2], sampling, SeededRandomness(0), drafter="model")
        assert planner._estimate(request, "model").alpha == pytest.approx(alpha)
