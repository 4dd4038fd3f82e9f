"""A small trained router over the stub encoder, for tests."""

import numpy as np

from router.classifier import TopicClassifier
from router.encoder import Encoder
from router.gate import ScopeGate
from router.topic_router import TopicRouter
from tests.router.stub_encoder import StubEncoder

WORDS = {
    "sql": "select table rows count join column",
    "math": "apples how many left each total",
    "shell": "files directory list grep pipe delete",
}
FOREIGN = "weather song alarm calendar restaurant flight"


def toy_router(encoder: Encoder | None = None, min_confidence: float = 0.5) -> TopicRouter:
    """Topics told apart by the words above; made by hand, without training."""
    encoder = encoder or StubEncoder()
    means = encoder.encode(list(WORDS.values()))
    foreign = encoder.encode([FOREIGN])[0]
    classifier = TopicClassifier(tuple(WORDS), 12.0 * means, np.zeros(len(WORDS), dtype=np.float32))
    scope = np.r_[10.0 * (means.mean(axis=0) - foreign), np.zeros(len(WORDS))].astype(np.float32)
    gate = ScopeGate(scope, 0.0, 0.5, means, np.eye(encoder.dim, dtype=np.float32), 1.3)
    return TopicRouter(encoder, classifier, gate, min_confidence, {"topic/accuracy": 0.5})
