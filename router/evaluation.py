"""How good a router is on prompts it has not seen: counts first, rates derived from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from router.classifier import Probabilities
from router.decision import Reason, RoutingDecision
from router.prompts import FOREIGN
from router.topic_router import TopicRouter

NUM_BINS = 10
_CALIBRATED_DRAWS = 200

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RouterReport:
    """What ``evaluate_router`` measured.

    Attributes:
        topics: in the order of the rows below.
        confusion: int64 [topic of the prompt, most probable topic], whatever the gate says.
        reasons: for each topic and ``out_of_scope`` (foreign prompts), how many decisions had each reason.
        num_right: topic prompts that got their own topic's draft.
        num_wrong: topic prompts that got another topic's draft.
        ece: expected calibration error of the most probable topic, ten bins of equal mass, topic prompts only.
        ece_if_calibrated: what a perfectly calibrated router would show on as many prompts.
        brier: mean squared error of the topic probabilities, summed over topics.
        auroc: probability that a topic prompt looks more in scope than a foreign one.
    """

    topics: tuple[str, ...]
    confusion: Counts
    reasons: dict[str, dict[str, int]]
    num_right: int
    num_wrong: int
    ece: float
    ece_if_calibrated: float
    brier: float
    auroc: float

    @property
    def num_in_topic(self) -> int:
        """Topic prompts measured."""
        return int(self.confusion.sum())

    @property
    def num_foreign(self) -> int:
        """Foreign prompts measured."""
        return sum(self.reasons["out_of_scope"].values())

    @property
    def topic_accuracy(self) -> float:
        """Share of topic prompts whose most probable topic is theirs."""
        return float(np.trace(self.confusion)) / max(self.num_in_topic, 1)

    def in_topic_share(self, reason: str) -> float:
        """Share of topic prompts decided with ``reason``."""
        return sum(self.reasons[topic].get(reason, 0) for topic in self.topics) / max(self.num_in_topic, 1)

    def foreign_share(self, reason: str) -> float:
        """Share of foreign prompts decided with ``reason``."""
        return self.reasons["out_of_scope"].get(reason, 0) / max(self.num_foreign, 1)

    def figures(self) -> dict[str, float]:
        """The figures under the names that the registry charts them by."""
        return {
            "topic/accuracy": self.topic_accuracy,
            "topic/uncertain": self.in_topic_share("uncertain"),
            "scope/topic_rejected": self.in_topic_share("out_of_scope"),
            "scope/foreign_rejected": self.foreign_share("out_of_scope"),
            "scope/auroc": self.auroc,
            "calibration/ece": self.ece,
            "calibration/ece_if_calibrated": self.ece_if_calibrated,
            "calibration/brier": self.brier,
            "prompts/topic": float(self.num_in_topic),
            "prompts/foreign": float(self.num_foreign),
        }


def evaluate_router(
    router: TopicRouter, prompts_by_topic: Mapping[str, Sequence[str]], foreign: Sequence[str]
) -> RouterReport:
    """Route every prompt and compare; topics that the router does not know are refused with a ``KeyError``."""
    decisions = {topic: router.decide_many(prompts) for topic, prompts in prompts_by_topic.items()}
    return report_on(router.topics, decisions, router.decide_many(foreign))


def report_on(
    topics: tuple[str, ...], decisions: Mapping[str, Sequence[RoutingDecision]], outside: Sequence[RoutingDecision]
) -> RouterReport:
    """What decisions come to: ``decisions`` by the topic of their prompt, ``outside`` on foreign prompts.

    Raises:
        KeyError: a topic that is not among ``topics``, those of the router.
    """
    index = {topic: row for row, topic in enumerate(topics)}
    truth = np.array([index[topic] for topic, made in decisions.items() for _ in made], dtype=np.int64)
    inside = [decision for made in decisions.values() for decision in made]
    probabilities = _probabilities(inside, topics)
    chosen = probabilities.argmax(axis=1)
    confusion = np.zeros((len(index), len(index)), dtype=np.int64)
    np.add.at(confusion, (truth, chosen), 1)
    routed = np.array([index.get(decision.topic or "", -1) for decision in inside], dtype=np.int64)
    reasons = {topic: _reasons(decisions.get(topic, [])) for topic in topics}
    sure = probabilities.max(axis=1)
    return RouterReport(
        topics=topics,
        confusion=confusion,
        reasons={**reasons, "out_of_scope": _reasons(outside)},
        num_right=int((routed == truth).sum()),
        num_wrong=int(((routed != truth) & (routed >= 0)).sum()),
        ece=expected_calibration_error(sure, chosen == truth),
        ece_if_calibrated=calibrated_error(sure),
        brier=float(((probabilities - np.eye(len(index))[truth]) ** 2).sum(axis=1).mean()),
        auroc=auroc([decision.in_scope for decision in inside], [decision.in_scope for decision in outside]),
    )


@dataclass(frozen=True)
class Marks:
    """How a router did on each of n prompts, so that two routers can be compared prompt by prompt.

    Attributes:
        right: bool [n]; the prompt got its own topic's draft or, being of no topic, no topic's.
        brier: float64 [n]; squared error of the probabilities of every topic and of none, 0 to 2 (Brier 1950).
    """

    right: Flags
    brier: Probabilities


def mark(decisions: Sequence[RoutingDecision], groups: Sequence[str]) -> Marks:
    """Compare decisions with what their prompts are of; a topic that the router does not know has probability 0."""
    right = [
        decision.topic == (None if group == FOREIGN else group)
        for decision, group in zip(decisions, groups, strict=True)
    ]
    brier = [_brier(decision, group) for decision, group in zip(decisions, groups, strict=True)]
    return Marks(np.array(right, dtype=np.bool_), np.array(brier, dtype=np.float64))


def _brier(decision: RoutingDecision, group: str) -> float:
    probabilities = {topic: share * decision.in_scope for topic, share in decision.alternatives}
    probabilities[FOREIGN] = 1.0 - decision.in_scope
    return 1.0 - 2.0 * probabilities.get(group, 0.0) + sum(each**2 for each in probabilities.values())


def reliability(confidences: Probabilities, right: Flags) -> list[tuple[float, float, int]]:
    """Mean confidence, share right and size of ten bins that hold equally many of [n] confidences; never empty ones."""
    order = np.argsort(confidences, kind="stable")
    parts = [part for part in np.array_split(order, NUM_BINS) if len(part)]
    return [(float(confidences[part].mean()), float(right[part].mean()), len(part)) for part in parts]


def expected_calibration_error(confidences: Probabilities, right: Flags) -> float:
    """Mean gap between confidence and accuracy over ten bins holding equally many of [n] confidences."""
    gaps = sum(abs(sure - share) * size for sure, share, size in reliability(confidences, right))
    return gaps / max(len(confidences), 1)


def calibrated_error(confidences: Probabilities) -> float:
    """The calibration error expected of confidences that are exactly right, from sampling alone."""
    generator = np.random.default_rng(0)
    draws = [
        expected_calibration_error(confidences, generator.random(len(confidences)) < confidences)
        for _ in range(_CALIBRATED_DRAWS)
    ]
    return float(np.mean(draws))


def auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Probability that a random member of ``higher`` exceeds one of ``lower``, ties counting half."""
    low = np.sort(np.asarray(lower, dtype=np.float64))
    below = np.searchsorted(low, higher, side="left") + np.searchsorted(low, higher, side="right")
    return float(below.mean() / 2.0 / len(low))


def _probabilities(decisions: Sequence[RoutingDecision], topics: tuple[str, ...]) -> Probabilities:
    rows = [dict(decision.alternatives) for decision in decisions]
    return np.array([[row[topic] for topic in topics] for row in rows], dtype=np.float64).reshape(-1, len(topics))


def _reasons(decisions: Sequence[RoutingDecision]) -> dict[str, int]:
    reasons = [decision.reason for decision in decisions]
    return {reason: reasons.count(reason) for reason in get_args(Reason)}
