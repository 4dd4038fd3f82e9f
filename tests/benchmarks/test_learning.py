"""What is made of rounds with and without a trainer beside them."""

from benchmarks.learning import LEARNING, QUIET, Found, learning_rows
from benchmarks.load import Round, Stream


def round_of(gap: float, seconds: float, text: str = "a") -> Round:
    return Round(seconds, [Stream(text, 11, 0.1, seconds, [gap] * 10)])


def test_ratios_are_taken_round_by_round():
    """A round that was slow for both sides says nothing about the trainer."""
    found = Found(swaps=7, busy_seconds=3.0)
    found.rounds[QUIET] = [round_of(0.002, 1.0), round_of(0.010, 5.0)]
    found.rounds[LEARNING] = [round_of(0.003, 1.5), round_of(0.015, 4.5)]
    quiet, learning = learning_rows(found)
    assert (quiet["p99_over_quiet"], quiet["swaps"], quiet["learner_cpu"]) == (1.0, 0, 0.0)
    assert (learning["swaps"], learning["learner_cpu"], learning["identical"]) == (7, 0.5, True)
    assert abs(learning["p99_over_quiet"] - 1.5) < 1e-9


def test_another_answer_is_noticed():
    found = Found()
    found.rounds[QUIET], found.rounds[LEARNING] = [round_of(0.002, 1.0)], [round_of(0.002, 1.0, "b")]
    assert [row["identical"] for row in learning_rows(found)] == [True, False]
