"""What the router says about a query: the topic, the draft that follows from it, how sure, and why."""

from dataclasses import dataclass
from typing import Literal

GENERAL = "general"

Reason = Literal["topic", "cost", "out_of_scope", "uncertain"]


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """The router's answer for one query.

    Attributes:
        topic: the topic routed to, or None where none is probable enough.
        draft: name of the draft, which is the topic or ``general`` unless the reason is ``cost``.
        confidence: calibrated probability, 0 to 1, that the query is in scope and of ``alternatives[0]``'s topic.
        reason: ``topic``; ``cost``, in scope, and the draft of least predicted cost; ``out_of_scope``, unlike every
            topic's prompts; or ``uncertain``, in scope but no topic probable enough.
        alternatives: every topic with its probability given that the query is in scope, most probable first.
        in_scope: probability, 0 to 1, that the query belongs to any topic at all.
        acceptance: predicted chance that a token of each draft is accepted on this query's answer, by draft; empty
            where the router predicts none.
    """

    topic: str | None
    draft: str
    confidence: float
    reason: Reason
    alternatives: tuple[tuple[str, float], ...] = ()
    in_scope: float = 1.0
    acceptance: tuple[tuple[str, float], ...] = ()


def decision_document(decision: RoutingDecision, draft_version: str | None = None) -> dict[str, object]:
    """The decision as a JSON document; ``draft_version`` (``v3``) turns the draft's name into ``sql@v3``."""
    return {
        "topic": decision.topic,
        "draft": f"{decision.draft}@{draft_version}" if draft_version else decision.draft,
        "confidence": round(decision.confidence, 4),
        "reason": decision.reason,
        "alternatives": [
            {"topic": topic, "probability": round(probability, 4)} for topic, probability in decision.alternatives
        ],
    }
