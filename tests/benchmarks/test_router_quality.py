"""Calibration and scope of a router beside their bars: said as computed, and told apart."""

import numpy as np
import pytest

from benchmarks.router_quality import quality, quality_notes
from router.decision import RoutingDecision
from router.prompts import FOREIGN
from training.routing.measure import measured

TOPICS = ("sql", "math")


def decided(count=2000, sure=0.9, right=0.9, foreign=0.05, seed=0):
    """Prompts of two topics, right with a chance beside the confidence; as many foreign ones, mostly told apart."""
    draw, decisions, groups = np.random.default_rng(seed), [], []
    for number in range(count):
        topic = TOPICS[number % 2]
        best = topic if draw.random() < right else TOPICS[1 - number % 2]
        other = TOPICS[1 - TOPICS.index(best)]
        decisions.append(RoutingDecision(best, best, sure, "topic", ((best, sure), (other, 1 - sure)), 0.9))
        groups.append(topic)
    for _ in range(count if foreign is not None else 0):
        scope = 0.95 if draw.random() < foreign else 0.1
        decisions.append(RoutingDecision(None, "general", 0.1, "out_of_scope", (("sql", 0.5), ("math", 0.5)), scope))
        groups.append(FOREIGN)
    return measured(tuple(decisions), TOPICS, groups), groups


def test_a_router_as_sure_as_it_is_right_reaches_the_bar():
    """So does the share of foreign prompts that it tells apart."""
    known = quality(*decided(foreign=0.01))
    assert (known["calibrated"], known["knows_scope"]) == (True, True)
    assert known["scope_auroc"] == pytest.approx(0.99, abs=0.005)
    assert sum(size for _, _, size in known["reliability"]) == known["topic_prompts"] == 2000
    notes = quality_notes("deployed", known)
    assert f"ECE {known['ece']:.4f}, at most 0.03" in notes[0]
    assert ", at least 0.98, against 2000" in notes[1]


def test_one_that_is_too_sure_is_told_on():
    """Confidence 0.9, right 0.8; and a tenth of the foreign prompts look like a topic's."""
    known = quality(*decided(right=0.8, foreign=0.1))
    assert (known["calibrated"], known["knows_scope"]) == (False, False)
    assert known["ece"] == pytest.approx(0.1, abs=0.02)
    assert known["ece_if_calibrated"] < 0.03
    notes = quality_notes("deployed", known)
    assert "MORE THAN 0.03" in notes[0]
    assert "LESS THAN 0.98" in notes[1]


def test_few_prompts_do_not_tell():
    """A perfectly calibrated router would miss the bar as well."""
    known = quality(*decided(count=40, right=0.7))
    assert known["ece"] > 0.03
    assert known["ece_if_calibrated"] > 0.03
    assert known["calibrated"] is None
    assert "too few prompts to tell from 0.03" in quality_notes("deployed", known)[0]


def test_without_foreign_prompts_nothing_is_claimed():
    """Nor are pictures drawn."""
    known = quality(*decided(count=20, foreign=None))
    assert known == {}
    assert "need prompts of its topics, and of none" in quality_notes("deployed", known)[0]
