"""Logistic regression in numpy."""

import numpy as np
import pytest

from router.classifier import TopicClassifier, softmax


def test_probabilities_equal_scikit_learn() -> None:
    """The numpy forward pass gives what the fitted scikit-learn model gives."""
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    rows = generator.normal(size=(90, 5)).astype(np.float32)
    model = LogisticRegression().fit(rows, np.repeat([0, 1, 2], 30))
    classifier = TopicClassifier(("a", "b", "c"), model.coef_.astype(np.float32), model.intercept_.astype(np.float32))
    np.testing.assert_allclose(classifier.probabilities(rows), model.predict_proba(rows), atol=1e-5)


def test_a_higher_temperature_is_less_sure_of_the_same_topic() -> None:
    """Temperature moves probabilities towards uniform and never changes their order."""
    weights = np.eye(3, dtype=np.float32) * 4
    rows = np.array([[1.0, 0.5, 0.0]], dtype=np.float32)
    cold = TopicClassifier(("a", "b", "c"), weights, np.zeros(3, dtype=np.float32), 1.0).probabilities(rows)
    warm = TopicClassifier(("a", "b", "c"), weights, np.zeros(3, dtype=np.float32), 5.0).probabilities(rows)
    assert warm.max() < cold.max()
    assert warm.argmax() == cold.argmax()


def test_softmax_holds_for_extreme_logits() -> None:
    """No overflow at logits far beyond what exp can take."""
    assert softmax(np.array([[1e4, -1e4]])).tolist() == [[pytest.approx(1.0), pytest.approx(0.0)]]
