"""Trains a router from prompts by topic and foreign prompts: minutes on a CPU, nearly all of it embedding.

The weights come from the training part of the prompts; temperature and thresholds from a calibration part that the
weights have not seen. scikit-learn is imported here only, and only while training.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router.classifier import Floats, Probabilities, TopicClassifier, softmax
from router.embedding_cache import CachedEncoder
from router.encoder import Encoder
from router.evaluation import RouterReport, evaluate_router
from router.gate import ScopeGate, scope_features, shrunk_whitening, topic_distances
from router.prompts import FOREIGN, PromptSet, as_written_text, prepare_prompts, without_stop
from router.topic_router import TopicRouter

Labels = NDArray[np.int64]

logger = logging.getLogger(__name__)

# At the default tolerance rounding decides where the solver stops, and two runs give visibly different routers.
_CONVERGED = {"tol": 1e-7, "max_iter": 20_000}


@dataclasses.dataclass(frozen=True)
class RouterSettings:
    """Knobs of router training.

    Attributes:
        max_per_topic: prompts used of each topic, and twice as many foreign ones.
        topic_regularisation: scikit-learn's C of the topic classifier; larger fits closer.
        scope_regularisation: the same of the scope head.
        shrinkage: how far the covariance is drawn towards a sphere, 0 to 1.
        max_topic_rejected: share of calibration prompts of the topics that the scope head may reject.
        max_topic_distant: share of them that the distance test may reject.
        max_topic_general: share of them that may get the general draft, rejected or not sure enough.
        min_confidence: the confidence threshold, lowered as far as ``max_topic_general`` asks; below one half a topic
            is more likely wrong than right.
    """

    max_per_topic: int = 3000
    topic_regularisation: float = 10.0
    scope_regularisation: float = 10.0
    shrinkage: float = 0.05
    max_topic_rejected: float = 0.015
    max_topic_distant: float = 0.004
    max_topic_general: float = 0.02
    min_confidence: float = 0.5


@dataclasses.dataclass(frozen=True)
class TrainingReport:
    """What went in, and how the router does on the calibration part: optimistic for thresholds, which were set there.

    Attributes:
        num_prompts: training prompts by topic, foreign ones under ``out_of_scope``.
        num_duplicates: dropped copies.
        num_ambiguous: dropped prompts that two topics claim.
        calibration: figures on the calibration part.
    """

    num_prompts: dict[str, int]
    num_duplicates: int
    num_ambiguous: int
    calibration: RouterReport


def train_router(
    prompts_by_topic: Mapping[str, Sequence[str]],
    foreign_prompts: Sequence[str],
    encoder: Encoder,
    seed: int = 0,
    settings: RouterSettings | None = None,
    cache: Path | None = None,
) -> tuple[TopicRouter, TrainingReport]:
    """Train a router; the same prompts, seed and encoder give the same router.

    Args:
        prompts_by_topic: two topics or more, each with its prompts.
        foreign_prompts: prompts of no topic, which the gate learns to turn away.
        encoder: the one the router will be served with.
        seed: draws and splits the prompts.
        settings: knobs.
        cache: folder for embeddings; a run that was killed and repeated embeds only what is missing there.

    Raises:
        CorpusError: too few prompts.
    """
    settings = settings or RouterSettings()
    prompts = prepare_prompts(prompts_by_topic, foreign_prompts, seed, settings.max_per_topic)
    router = fit_router(prompts, CachedEncoder(encoder, cache) if cache else encoder, settings)
    inside = {topic: prompts.calibration[topic] for topic in router.topics}
    report = evaluate_router(router, inside, prompts.calibration[FOREIGN])
    sizes = {topic: len(texts) for topic, texts in prompts.train.items()}
    router = dataclasses.replace(router, encoder=encoder, figures=report.figures())
    return router, TrainingReport(sizes, prompts.num_duplicates, prompts.num_ambiguous, report)


def fit_router(
    prompts: PromptSet, encoder: Encoder, settings: RouterSettings, told: Callable[[str], None] = lambda _: None
) -> TopicRouter:
    """Weights from the training part, temperature and thresholds from the calibration part; no figures yet.

    Args:
        prompts: topics in the order in which the router will name them, and ``out_of_scope``.
        encoder: asked for each text several times, so one with a cache; the router keeps it.
        told: ``fit`` and ``calibration``, as each ends.
    """
    topics = tuple(topic for topic in prompts.train if topic != FOREIGN)
    logger.info("training a router on %d prompts of %d topics", sum(map(len, prompts.train.values())), len(topics))
    rows, labels = _labelled(prompts.train, topics, encoder)
    classifier = _fit_classifier(rows, labels, topics, settings)
    gate = _fit_gate(rows, labels, _scope_rows(prompts.train, topics, encoder), settings)
    told("fit")
    held_out, truth = _labelled(prompts.calibration, topics, encoder)
    classifier = dataclasses.replace(classifier, temperature=fit_temperature(classifier.logits(held_out), truth))
    gate = _calibrated(gate, *_scope_rows(prompts.calibration, topics, encoder), settings)
    inside = {topic: prompts.calibration[topic] for topic in topics}
    router = _with_threshold(TopicRouter(encoder, classifier, gate, settings.min_confidence), inside, settings)
    told("calibration")
    return router


def _fit_classifier(rows: Floats, labels: Labels, topics: tuple[str, ...], settings: RouterSettings) -> TopicClassifier:
    """Temperature 1."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=settings.topic_regularisation, class_weight="balanced", **_CONVERGED)
    model.fit(rows, labels)
    weights, bias = model.coef_, model.intercept_
    if len(topics) == 2:
        # scikit-learn keeps one row for two classes.
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return TopicClassifier(topics, weights.astype(np.float32), bias.astype(np.float32))


def _with_threshold(router: TopicRouter, inside: Mapping[str, Sequence[str]], settings: RouterSettings) -> TopicRouter:
    confidences = [decision.confidence for texts in inside.values() for decision in router.decide_many(texts)]
    lowest = float(np.quantile(confidences, settings.max_topic_general))
    return router.with_min_confidence(min(settings.min_confidence, lowest))


def _fit_gate(rows: Floats, labels: Labels, scope_rows: tuple[Floats, Floats], settings: RouterSettings) -> ScopeGate:
    """It rejects nobody: thresholds are for `_calibrated`."""
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])
    whitening = shrunk_whitening(rows - means[labels], settings.shrinkage)
    return _fit_scope_head(*scope_rows, means, whitening, settings)


def _calibrated(gate: ScopeGate, inside: Floats, outside: Floats, settings: RouterSettings) -> ScopeGate:
    gate = _scale_scope_head(gate, inside, outside)
    return dataclasses.replace(
        gate,
        threshold=float(np.quantile(gate.in_scope(inside), settings.max_topic_rejected)),
        max_distance=float(np.quantile(gate.distances(inside).min(axis=1), 1.0 - settings.max_topic_distant)),
    )


def _fit_scope_head(
    inside: Floats, outside: Floats, means: Floats, whitening: Floats, settings: RouterSettings
) -> ScopeGate:
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([inside, outside])
    features = scope_features(rows, topic_distances(rows, means, whitening))
    model = LogisticRegression(C=settings.scope_regularisation, class_weight="balanced", **_CONVERGED)
    model.fit(features, np.r_[np.ones(len(inside)), np.zeros(len(outside))])
    weights, bias = model.coef_[0].astype(np.float32), float(model.intercept_[0])
    return ScopeGate(weights, bias, 0.0, means, whitening, float("inf"))


def _scale_scope_head(gate: ScopeGate, inside: Floats, outside: Floats) -> ScopeGate:
    """The same head with a temperature folded in, so that its probabilities hold on unseen prompts."""
    probabilities = np.concatenate([gate.in_scope(inside), gate.in_scope(outside)])
    truth = np.r_[np.ones(len(inside), dtype=np.int64), np.zeros(len(outside), dtype=np.int64)]
    logits = np.log(np.stack([1.0 - probabilities, probabilities], axis=1) + 1e-12)
    temperature = fit_temperature(logits, truth)
    return dataclasses.replace(gate, weights=gate.weights / np.float32(temperature), bias=gate.bias / temperature)


def fit_temperature(logits: Probabilities, truth: Labels) -> float:
    """The temperature that makes ``truth`` [n] most likely under ``logits`` [n, classes], to about one per cent."""
    rows = np.arange(len(truth))

    def loss(temperature: float) -> float:
        return float(-np.log(softmax(logits / temperature)[rows, truth] + 1e-12).mean())

    return float(min(np.geomspace(0.25, 10.0, 371), key=loss))


def _labelled(split: dict[str, list[str]], topics: tuple[str, ...], encoder: Encoder) -> tuple[Floats, Labels]:
    rows = np.concatenate([encoder.encode(split[topic]) for topic in topics])
    return rows, np.repeat(np.arange(len(topics)), [len(split[topic]) for topic in topics])


def _scope_rows(split: dict[str, list[str]], topics: tuple[str, ...], encoder: Encoder) -> tuple[Floats, Floats]:
    """Topic prompts and foreign prompts, each as collected and in the other's punctuation."""
    inside = [text for topic in topics for text in split[topic]]
    outside = split[FOREIGN]
    return (
        np.concatenate([encoder.encode(inside), encoder.encode([without_stop(text) for text in inside])]),
        np.concatenate([encoder.encode(outside), encoder.encode([as_written_text(text) for text in outside])]),
    )
