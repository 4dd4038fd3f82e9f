"""Why a query was routed as it was: what was weighed, against which thresholds, and which words told most."""

from dataclasses import dataclass

import numpy as np

from router.decision import RoutingDecision
from router.topic_router import TopicRouter

_MOST_WORDS = 48


@dataclass(frozen=True)
class Explanation:
    """What went into a decision.

    Attributes:
        distances: of the query from each topic's prompts, by topic; about one for a topic's own.
        max_distance: beyond it from the nearest topic, a query is out of scope.
        min_in_scope: below this probability of being of any topic, a query is out of scope.
        min_confidence: below it, the general draft is used.
        words: of the query, with how much the confidence in the most probable topic falls without them, most first.
    """

    decision: RoutingDecision
    distances: dict[str, float]
    max_distance: float
    min_in_scope: float
    min_confidence: float
    words: tuple[tuple[str, float], ...]

    @property
    def rule(self) -> str:
        """The rule that decided, in a sentence."""
        decision, nearest = self.decision, min(self.distances.values())
        if decision.reason == "out_of_scope" and nearest > self.max_distance:
            return f"out of scope: the nearest topic is {nearest:.2f} away, further than {self.max_distance:.2f}"
        if decision.reason == "out_of_scope":
            return f"out of scope: {decision.in_scope:.3f} is less than {self.min_in_scope:.3f}"
        if decision.reason == "uncertain":
            return f"uncertain: confidence {decision.confidence:.3f} is less than {self.min_confidence:.3f}"
        return f"{decision.reason}: in scope, and {decision.confidence:.3f} is at least {self.min_confidence:.3f}"


def explain(router: TopicRouter, text: str) -> Explanation:
    """Route ``text`` and say why; the words cost an embedding each."""
    words = list(dict.fromkeys(text.split()))[:_MOST_WORDS]
    without = [" ".join(each for each in text.split() if each != word) for word in words]
    embeddings = router.encoder.encode([text, *without])
    decision = router.decide_embedded(embeddings[:1])[0]
    gate = router.gate
    distances = dict(zip(router.topics, gate.distances(embeddings[:1])[0].tolist(), strict=True))
    best = router.topics.index(decision.alternatives[0][0])
    sure = router.classifier.probabilities(embeddings)[:, best] * gate.in_scope(embeddings)
    falls = sure[0] - sure[1:]
    order = np.argsort(-falls, kind="stable")
    told = tuple((words[place], float(falls[place])) for place in order)
    return Explanation(decision, distances, gate.max_distance, gate.threshold, router.min_confidence, told)
