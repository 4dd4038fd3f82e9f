"""`bench theory` predicts what the papers' formulas say and forces the acceptance that it promises."""

import pytest

from benchmarks.forced import ForcedDrafter
from benchmarks.theory import best_length, expected_tokens, run_theory, theoretical_speedup
from configs.errors import ConfigError
from decoding.costs import StepCosts
from decoding.request import SamplingParams
from decoding.step_loop import StepLoop
from tests.toys import ToyModel, make_request


def costs(c, width=1.0):
    """A draft step costs ``c``; a target run over 13 rows costs ``width``."""
    return StepCosts({1: 1.0, 13: width}, {1: c})


def test_expected_tokens_is_the_closed_form():
    """The sum 1 + alpha + ... + alpha^k, also where alpha is 1."""
    for alpha in (0.3, 0.9, 1.0):
        assert expected_tokens(alpha, 4) == pytest.approx(sum(alpha**power for power in range(5)))


def test_the_formula_gives_the_published_theory_row():
    """Liu et al. 2024 print 39.0 to 16.38 ms a token for a plain 51.09, with k = 5 and c = 0.1."""
    printed = {0.5: 39.0, 0.6: 32.12, 0.7: 26.07, 0.8: 20.77, 0.9: 16.38}
    for alpha, milliseconds in printed.items():
        assert 51.09 / theoretical_speedup(alpha, 5, costs(0.1)) == pytest.approx(milliseconds, rel=2e-3)


def test_the_best_length_falls_with_the_cost_of_a_draft_step():
    """Best lengths at alpha 0.6 that go with Liu et al. 2024; a costly width shortens them further."""
    assert [best_length(0.6, costs(c)) for c in (0.01, 0.02, 0.05, 0.1)] == [7, 6, 4, 3]
    assert best_length(0.6, costs(0.05, width=3.0)) < 4


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_a_forced_drafter_is_right_as_often_as_asked_and_changes_no_answer(alpha):
    """Of the positions reached, a share of alpha is accepted; every forward of the draft is run."""
    target = ToyModel(vocab_size=12, seed=1, num_slots=1, max_length=2100)
    draft = ToyModel(vocab_size=12, seed=2, num_slots=1, max_length=2100)
    answer = target.greedy([3], 2000)
    drafter = ForcedDrafter(draft, alpha, {"r": answer})
    request = make_request([3], SamplingParams(max_tokens=1990), drafter="forced")
    StepLoop(target, {"forced": drafter}, 4).run([request])
    assert request.generated == answer[:1990]
    assert request.counts.alpha == pytest.approx(alpha, abs=0.05)
    assert draft.num_forwards == request.counts.num_draft_tokens
    assert drafter.num_requests == 0


def test_rows_hold_prediction_and_measurement_side_by_side(config, tmp_path):
    """A row an alpha, with the length asked for, counts near the expectation, and the answers unchanged."""
    report = run_theory(config, None, [0.5, 0.9], num_draft_tokens=3, requests=6, tokens=120, repeats=2)
    assert [row["forced_alpha"] for row in report.rows] == [0.5, 0.9]
    for row in report.rows:
        assert (row["method"], row["num_draft_tokens"], row["identical"]) == ("forced", 3, True)
        assert row["alpha"] == pytest.approx(row["forced_alpha"], abs=0.08)
        assert row["tokens_per_target_run"] == pytest.approx(row["expected_tokens_per_target_run"], rel=0.15)
        assert row["predicted_speedup"] == pytest.approx(
            row["expected_tokens_per_target_run"] / (row["w"] + 3 * row["c"])
        )
        assert row["measured_over_predicted"] == pytest.approx(row["speedup"] / row["predicted_speedup"])
    assert report.save(tmp_path)[2].read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": [0.5, 1.2]}, "an alpha is a chance"),
        ({"num_draft_tokens": 13}, "not 1 to 12"),
        ({"repeats": 5}, "cannot make 5 blocks"),
    ],
)
def test_what_cannot_be_measured_is_refused(config, change, message):
    """The message names the option."""
    options = {"alphas": [0.5], "num_draft_tokens": None, "requests": 4, "tokens": 8, "repeats": 1}
    with pytest.raises(ConfigError, match=message):
        run_theory(config, None, **{**options, **change})
