"""Router training, over the stub encoder."""

import random
from pathlib import Path

import numpy as np
import pytest

from router.evaluation import evaluate_router
from router.topic_router import TopicRouter
from router.training import RouterSettings, TrainingReport, fit_temperature, train_router
from tests.router.routers import FOREIGN, WORDS
from tests.router.stub_encoder import StubEncoder


def sentences(words: str, count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(words.split(), k=5)) for _ in range(count)]


def train(seed: int = 0, topics: tuple[str, ...] = tuple(WORDS), **more: Path) -> tuple[TopicRouter, TrainingReport]:
    prompts = {topic: sentences(WORDS[topic], 400, 1) for topic in topics}
    settings = RouterSettings(max_topic_rejected=0.02)
    return train_router(prompts, sentences(FOREIGN, 600, 1), StubEncoder(dim=96), seed, settings, **more)


def test_a_trained_router_tells_topics_and_foreign_prompts_apart() -> None:
    """On prompts it has not seen: nearly all topics right, most foreign prompts turned away, few of the topics'."""
    router, report = train()
    unseen = {topic: sentences(words, 60, 2) for topic, words in WORDS.items()}
    measured = evaluate_router(router, unseen, sentences(FOREIGN, 60, 2))
    assert measured.topic_accuracy > 0.95
    assert measured.foreign_share("out_of_scope") > 0.9
    assert measured.in_topic_share("out_of_scope") < 0.1
    sizes = report.num_prompts
    assert list(sizes) == ["sql", "math", "shell", "out_of_scope"]
    assert report.calibration.num_in_topic == pytest.approx(sum(sizes[topic] for topic in WORDS) / 4, abs=2)
    assert router.figures == report.calibration.figures()


def test_two_topics_are_enough() -> None:
    """scikit-learn keeps one row of weights for two classes; the router still has one a topic."""
    router, _ = train(topics=("sql", "math"))
    assert router.classifier.weights.shape == (2, 96)
    assert router.decide(sentences(WORDS["math"], 1, 3)[0]).topic == "math"
    assert router.decide(sentences(WORDS["sql"], 1, 3)[0]).topic == "sql"


def test_training_is_reproducible_and_resumable(tmp_path: Path) -> None:
    """The same seed gives the same router, with or without a cache; the cache holds what was embedded."""
    plain, _ = train()
    cached, _ = train(cache=tmp_path)
    np.testing.assert_array_equal(plain.classifier.weights, cached.classifier.weights)
    assert plain.gate.threshold == cached.gate.threshold
    assert list(tmp_path.glob("*/*.npz"))


def test_the_temperature_undoes_overconfidence() -> None:
    """Logits that are three times too large get a temperature near three."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([generator.choice(4, p=row) for row in probabilities])
    assert fit_temperature(3.0 * logits, truth) == pytest.approx(3.0, rel=0.1)
