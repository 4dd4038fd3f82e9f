"""Why a query was routed as it was."""

import dataclasses

import pytest

from router.explanation import explain
from router.topic_router import TopicRouter
from tests.router.routers import FOREIGN, WORDS, toy_router

FAR = dataclasses.replace(toy_router(), gate=dataclasses.replace(toy_router().gate, max_distance=0.001))


@pytest.mark.parametrize(
    ("router", "text", "says"),
    [
        (toy_router(), WORDS["sql"], "topic: in scope, and "),
        (toy_router(), FOREIGN, "out of scope: "),
        (toy_router(min_confidence=0.99), "select apples", "uncertain: confidence "),
        (FAR, "rows", "away"),
    ],
)
def test_the_rule_that_decided_is_named_with_both_of_its_figures(router: TopicRouter, text: str, says: str) -> None:
    found = explain(router, text)
    assert says in found.rule
    assert found.decision.reason == router.decide(text).reason
    assert list(found.distances) == list(router.topics)


def test_the_words_that_told_most_come_first() -> None:
    """Without them the router is less sure; words that say nothing come last."""
    found = explain(toy_router(), "select xyzzy rows plugh")
    assert {word for word, _ in found.words[:2]} == {"select", "rows"}
    assert all(fall > 0 for _, fall in found.words[:2])


def test_a_query_without_words_is_explained_too() -> None:
    assert explain(toy_router(), "").words == ()
