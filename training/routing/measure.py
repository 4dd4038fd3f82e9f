"""A router on prompts that it has not seen: decisions, figures, and a mark for every prompt to pair with another's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from router.classifier import Probabilities
from router.decision import GENERAL, RoutingDecision
from router.encoder import Embeddings
from router.evaluation import Marks, RouterReport, mark, report_on
from router.held_out import HeldOut
from router.prompts import FOREIGN


class Routing(Protocol):
    """What every kind of router can do."""

    @property
    def topics(self) -> tuple[str, ...]: ...

    def decide_embedded(self, embeddings: Embeddings) -> list[RoutingDecision]: ...


@dataclass(frozen=True)
class Answered:
    """What the target's answers to some prompts would have cost with each draft, in plain target runs.

    Attributes:
        drafts: names, d.
        costs: float64 [n, d]; NaN where a draft was not scored.
        tokens: of each answer, float64 [n]; 0 where the answer is not known.
    """

    drafts: tuple[str, ...]
    costs: Probabilities
    tokens: Probabilities

    def chosen(self, decisions: Sequence[RoutingDecision]) -> Probabilities:
        """Cost of each prompt under the draft that it was given, [n]; NaN where that was not scored.

        A draft that the table does not have is the general one's; without that too, nobody drafts.
        """
        places = {name: place for place, name in enumerate(self.drafts)}
        columns = [places.get(decision.draft, places.get(GENERAL, -1)) for decision in decisions]
        plain = np.array([decision.draft == "none" for decision in decisions]) | (np.array(columns) < 0)
        return np.where(plain, self.tokens, self.costs[np.arange(len(columns)), columns])


@dataclass(frozen=True)
class Sample:
    """Held-out prompts, n: what they are of, how they look to a router, and what is known of their answers."""

    embeddings: Embeddings
    groups: tuple[str, ...]
    texts: tuple[str, ...] = ()  # none where only embeddings were kept
    answered: Answered | None = None

    @classmethod
    def of(cls, held_out: HeldOut) -> "Sample":
        """Prompts that an earlier version was measured on."""
        return cls(held_out.embeddings, held_out.groups)


@dataclass(frozen=True)
class Measured:
    """A router on a sample.

    Attributes:
        decisions: of every prompt, in the order of the sample.
        report: on the prompts whose topics it knows, and the foreign ones; None where there are none of either.
    """

    decisions: tuple[RoutingDecision, ...]
    marks: Marks
    report: RouterReport | None

    @property
    def right(self) -> float:
        """Share of prompts that got their own topic's draft, or no topic's if they are of none."""
        return float(self.marks.right.mean())

    @property
    def brier(self) -> float:
        """Mean squared error of the probabilities of every topic and of none."""
        return float(self.marks.brier.mean())

    def figures(self) -> dict[str, float]:
        """Under the names that the registry charts them by."""
        own = self.report.figures() if self.report is not None else {}
        return {**own, "topic/right": self.right, "calibration/brier_with_scope": self.brier}


def measure(router: Routing, sample: Sample) -> Measured:
    """Route every prompt of ``sample`` and compare."""
    decisions = tuple(router.decide_embedded(sample.embeddings))
    return measured(decisions, router.topics, sample.groups)


def measured(decisions: tuple[RoutingDecision, ...], topics: tuple[str, ...], groups: Sequence[str]) -> Measured:
    """What decisions come to on prompts of ``groups``."""
    by_group: dict[str, list[RoutingDecision]] = {}
    for decision, group in zip(decisions, groups, strict=True):
        by_group.setdefault(group, []).append(decision)
    inside = {topic: by_group[topic] for topic in topics if topic in by_group}
    outside = by_group.get(FOREIGN, [])
    has_shares = all(decision.alternatives for decision in decisions)
    report = report_on(topics, inside, outside) if inside and outside and has_shares else None
    return Measured(decisions, mark(decisions, groups), report)


@dataclass(frozen=True)
class NoRouter:
    """Says of every prompt what is so on the average: what a first router must beat.

    Attributes:
        shares: of each topic and ``out_of_scope`` in the prompts to learn from; they add up to one.
    """

    shares: Mapping[str, float]

    @classmethod
    def of(cls, groups: Sequence[str]) -> "NoRouter":
        counts = Counter(groups)
        return cls({name: count / len(groups) for name, count in counts.items()})

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(name for name in self.shares if name != FOREIGN)

    def decide_embedded(self, embeddings: Embeddings) -> list[RoutingDecision]:
        """The general draft for all of [n, dim]."""
        in_scope = 1.0 - self.shares.get(FOREIGN, 0.0)
        ordered = sorted(((name, self.shares[name] / in_scope) for name in self.topics), key=lambda pair: -pair[1])
        decision = RoutingDecision(None, GENERAL, in_scope * ordered[0][1], "uncertain", tuple(ordered), in_scope)
        return [decision] * len(embeddings)
