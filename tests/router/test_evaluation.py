"""Figures of a router."""

import numpy as np
import pytest

from router.decision import RoutingDecision
from router.evaluation import (
    auroc,
    calibrated_error,
    evaluate_router,
    expected_calibration_error,
    mark,
    reliability,
)
from tests.router.routers import FOREIGN, WORDS, toy_router


def test_counts_add_up() -> None:
    """Each prompt is counted once, in the confusion and in the reasons, and right ones as right."""
    report = evaluate_router(toy_router(), {topic: [words] * 3 for topic, words in WORDS.items()}, [FOREIGN] * 4)
    assert report.confusion.tolist() == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    assert (report.num_in_topic, report.num_foreign, report.num_right, report.num_wrong) == (9, 4, 9, 0)
    assert report.reasons["out_of_scope"] == {"topic": 0, "cost": 0, "out_of_scope": 4, "uncertain": 0}
    assert (report.topic_accuracy, report.auroc, report.foreign_share("out_of_scope")) == (1.0, 1.0, 1.0)
    assert report.in_topic_share("topic") == 1.0
    assert report.figures()["topic/accuracy"] == 1.0


def test_wrong_topics_show_off_the_diagonal() -> None:
    """Prompts given under another topic's name are counted as wrong where they went."""
    report = evaluate_router(toy_router(), {"sql": [WORDS["math"]]}, [FOREIGN])
    assert report.confusion.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert (report.num_right, report.num_wrong, report.topic_accuracy) == (0, 1, 0.0)


def test_calibration_error_is_the_gap_between_sure_and_right() -> None:
    """Always .9 sure and half right is .4 off; exactly calibrated confidences show only sampling noise."""
    sure = np.full(1000, 0.9)
    assert expected_calibration_error(sure, np.arange(1000) % 2 == 0) == pytest.approx(0.4, abs=1e-6)
    generator = np.random.default_rng(1)
    confidences = generator.uniform(0.5, 1.0, 1000)
    calibrated = generator.random(1000) < confidences
    assert expected_calibration_error(confidences, calibrated) < 2 * calibrated_error(confidences) < 0.08


def test_auroc_counts_ordered_pairs() -> None:
    """Three of four pairs in order is .75, and ties count half."""
    assert auroc([0.9, 0.4], [0.1, 0.5]) == 0.75
    assert auroc([0.5], [0.5]) == 0.5


def test_marks_tell_right_from_wrong_prompt_by_prompt() -> None:
    """A topic's prompt is right with its own draft, a foreign one with no topic's; a sure mistake costs two."""
    router = toy_router()
    decisions = router.decide_many([WORDS["sql"], WORDS["sql"], FOREIGN, FOREIGN, WORDS["sql"]])
    marks = mark(decisions, ["sql", "math", "out_of_scope", "sql", "a topic of its own"])
    assert marks.right.tolist() == [True, False, True, False, False]
    assert marks.brier[0] < 0.1 < 1.0 < marks.brier[1] <= 2.0
    assert marks.brier[4] == pytest.approx(marks.brier[1], abs=0.2)


def test_the_brier_score_is_least_for_probabilities_that_are_true() -> None:
    """Surer and less sure than the truth both cost more, on the average of what happens."""

    def cost(in_scope: float) -> float:
        decision = RoutingDecision("a", "a", in_scope, "topic", (("a", 1.0), ("b", 0.0)), in_scope)
        marks = mark([decision, decision], ["a", "out_of_scope"])
        return float(marks.brier @ [0.7, 0.3])

    assert cost(0.7) < min(cost(0.6), cost(0.8))


def test_reliability_bins_hold_equally_many() -> None:
    bins = reliability(np.linspace(0.5, 1.0, 105), np.ones(105, dtype=np.bool_))
    assert [size for _, _, size in bins] == [11] * 5 + [10] * 5
    assert all(share == 1.0 for _, share, _ in bins)
    assert [sure for sure, _, _ in bins] == sorted(sure for sure, _, _ in bins)
