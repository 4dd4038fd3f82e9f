"""Figures of a router."""

import numpy as np
import pytest

from router.evaluation import auroc, calibrated_error, evaluate_router, expected_calibration_error
from tests.router.routers import FOREIGN, WORDS, toy_router


def test_counts_add_up() -> None:
    """Each prompt is counted once, in the confusion and in the reasons, and right ones as right."""
    report = evaluate_router(toy_router(), {topic: [words] * 3 for topic, words in WORDS.items()}, [FOREIGN] * 4)
    assert report.confusion.tolist() == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    assert (report.num_in_topic, report.num_foreign, report.num_right, report.num_wrong) == (9, 4, 9, 0)
    assert report.reasons["out_of_scope"] == {"topic": 0, "out_of_scope": 4, "uncertain": 0}
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
