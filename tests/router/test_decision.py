"""The document a decision becomes."""

from router.decision import RoutingDecision, decision_document


def test_the_document_names_draft_version_and_every_alternative() -> None:
    """All keys of the decision that a client sees, rounded, with the version behind the draft's name."""
    decision = RoutingDecision("sql", "sql", 0.987654, "topic", (("sql", 0.99), ("math", 0.01)), 0.99)
    assert decision_document(decision, "v3") == {
        "topic": "sql",
        "draft": "sql@v3",
        "confidence": 0.9877,
        "reason": "topic",
        "alternatives": [{"topic": "sql", "probability": 0.99}, {"topic": "math", "probability": 0.01}],
    }


def test_without_a_version_the_draft_is_the_bare_name() -> None:
    """Out of scope shows no topic, and the general draft."""
    document = decision_document(RoutingDecision(None, "general", 0.2, "out_of_scope"))
    assert (document["topic"], document["draft"]) == (None, "general")
