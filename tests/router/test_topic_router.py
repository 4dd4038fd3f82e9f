"""Decisions of the router, and its way to disk and back."""

from pathlib import Path

import pytest

from configs.errors import RouterError
from router.topic_router import TopicRouter
from tests.router.routers import FOREIGN, WORDS, toy_router
from tests.router.stub_encoder import StubEncoder


def test_a_topic_query_gets_its_topics_draft() -> None:
    """Topic, draft, reason and the most probable alternative agree; alternatives sum to one and fall."""
    for topic, words in WORDS.items():
        decision = toy_router().decide(words)
        assert (decision.topic, decision.draft, decision.reason) == (topic, topic, "topic")
        probabilities = [probability for _, probability in decision.alternatives]
        assert decision.alternatives[0][0] == topic
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1.0)
        assert decision.confidence == pytest.approx(probabilities[0] * decision.in_scope)


def test_a_foreign_query_gets_the_general_draft() -> None:
    """Out of scope: no topic, the general draft, low confidence."""
    decision = toy_router().decide(FOREIGN)
    assert (decision.topic, decision.draft, decision.reason) == (None, "general", "out_of_scope")
    assert decision.confidence < 0.5


def test_a_query_between_two_topics_is_uncertain() -> None:
    """In scope but below the threshold: the general draft, with the probabilities kept."""
    decision = toy_router(min_confidence=0.9).decide("select apples")
    assert (decision.topic, decision.draft, decision.reason) == (None, "general", "uncertain")
    assert len(decision.alternatives) == len(WORDS)


def test_many_queries_are_decided_as_one_by_one() -> None:
    """Batching changes nothing, and no query is no decision."""
    texts = [*WORDS.values(), FOREIGN, "select apples"]
    router = toy_router()
    assert [decision.reason for decision in router.decide_many(texts)] == [router.decide(text).reason for text in texts]
    assert router.decide_many([]) == []


def test_a_saved_router_decides_the_same(tmp_path: Path) -> None:
    """save and load keep every decision, the threshold and the figures, bit for bit."""
    router = toy_router(min_confidence=0.7)
    router.save(tmp_path)
    loaded = TopicRouter.load(tmp_path, StubEncoder())
    texts = [*WORDS.values(), FOREIGN, "select apples"]
    assert loaded.decide_many(texts) == router.decide_many(texts)
    assert (loaded.min_confidence, loaded.figures, loaded.topics) == (0.7, router.figures, router.topics)


def test_another_embedding_model_is_refused(tmp_path: Path) -> None:
    """Same size, other weights: the error names both models and what to set."""
    toy_router().save(tmp_path)
    with pytest.raises(RouterError, match="another embedding model") as caught:
        TopicRouter.load(tmp_path, StubEncoder(fingerprint="stub-2"))
    assert "stub-1" in str(caught.value)
    assert "stub-2" in str(caught.value)
    assert "router.embedding" in caught.value.do
