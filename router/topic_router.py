"""The router: query text -> ``RoutingDecision``.

A query is embedded, passed through the out-of-scope gate, and given the topic that the classifier finds most probable
if that is probable enough; a router of a kind that knows costs then takes the draft of least cost. Everything else goes
to the general draft, which costs speed and never a wrong answer.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import RouterError
from router.classifier import TopicClassifier
from router.decision import GENERAL, Reason, RoutingDecision
from router.encoder import Embeddings, Encoder
from router.gate import ScopeGate
from router.kinds import RouterKind
from router.storage import StoredRouter, read_router, write_router


@dataclass(frozen=True)
class TopicRouter:
    """A trained router with the encoder it was trained on.

    Attributes:
        encoder: text -> embedding.
        classifier: embedding -> topic probabilities.
        gate: embedding -> in scope or not.
        min_confidence: a less probable topic is ``uncertain``.
        figures: what was measured when it was made, by name; stored with it.
        kind: chooses drafts by predicted cost; None for the draft of the topic.
    """

    encoder: Encoder
    classifier: TopicClassifier
    gate: ScopeGate
    min_confidence: float
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    kind: RouterKind | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics it knows."""
        return self.classifier.topics

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> "TopicRouter":
        """Read a router folder.

        Raises:
            RouterError: a file is missing or damaged, or the router was trained on another embedding model.
        """
        stored = read_router(folder)
        if stored.fingerprint != encoder.fingerprint:
            raise RouterError(
                f"the router in {folder} was trained on another embedding model",
                do=f"set router.embedding to {stored.embedding}, or train the router again on {encoder.name}",
                facts=(
                    f"trained on  {stored.embedding} ({stored.fingerprint})",
                    f"served with {encoder.name} ({encoder.fingerprint})",
                ),
            )
        return cls(encoder, stored.classifier, stored.gate, stored.min_confidence, stored.figures, stored.kind)

    def save(self, folder: Path) -> None:
        """Write ``router.json`` and ``router.safetensors`` into ``folder``, each file whole or not at all."""
        encoder = self.encoder
        stored = StoredRouter(
            encoder.name, encoder.fingerprint, self.classifier, self.gate, self.min_confidence, self.figures, self.kind
        )
        write_router(stored, folder)

    def with_min_confidence(self, min_confidence: float) -> "TopicRouter":
        """The same router with another confidence threshold."""
        return dataclasses.replace(self, min_confidence=min_confidence)

    def decide(self, text: str) -> RoutingDecision:
        """Route one query."""
        return self.decide_many([text])[0]

    def decide_many(self, texts: Sequence[str]) -> list[RoutingDecision]:
        """Route queries; decisions in the order of ``texts``."""
        return self.decide_embedded(self.encoder.encode(texts))

    def decide_embedded(self, embeddings: Embeddings) -> list[RoutingDecision]:
        """Route queries that are embedded already, float32 [n, dim]."""
        probabilities = self.classifier.probabilities(embeddings)
        orders = np.argsort(-probabilities, axis=1, kind="stable")
        scopes, passes = self.gate.in_scope(embeddings), self.gate.passes(embeddings)
        decisions = [
            self._decide([(self.topics[i], float(row[i])) for i in order], float(scope), bool(passed))
            for row, order, scope, passed in zip(probabilities, orders, scopes, passes, strict=True)
        ]
        return decisions if self.kind is None else _by_cost(decisions, self.kind, embeddings)

    def _decide(self, alternatives: list[tuple[str, float]], in_scope: float, passed: bool) -> RoutingDecision:
        best, probability = alternatives[0]
        confidence = probability * in_scope
        reason: Reason = "topic"
        if not passed:
            reason = "out_of_scope"
        elif confidence < self.min_confidence:
            reason = "uncertain"
        topic = best if reason == "topic" else None
        return RoutingDecision(topic, topic or GENERAL, confidence, reason, tuple(alternatives), in_scope)


def _by_cost(decisions: list[RoutingDecision], kind: RouterKind, embeddings: Embeddings) -> list[RoutingDecision]:
    """The same decisions with the drafts that ``kind`` chooses; what is out of scope stays with the general draft."""
    drafts, chosen = kind.menu.drafts, kind.choose(embeddings)
    acceptance = kind.menu.acceptance(kind.predict(embeddings))
    return [
        decision
        if decision.reason == "out_of_scope"
        else dataclasses.replace(
            decision,
            draft=drafts[choice],
            reason="cost",
            acceptance=tuple(zip(drafts, map(float, chances), strict=True)),
        )
        for decision, choice, chances in zip(decisions, chosen, acceptance, strict=True)
    ]
