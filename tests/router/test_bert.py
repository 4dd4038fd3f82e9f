"""The short way through BERT gives what the long one gives."""

import numpy as np
import pytest

from router.bert import PlainBert
from router.encoder import SentenceEncoder, load_encoder

TEXTS = ("How many singers do we have?", "", " ", "x", "😀 é \ud800", "word " * 500, "Write a function.\n\n  def f(x):")


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return load_encoder()


def test_one_text_gets_the_embedding_that_it_has_among_others(encoder: SentenceEncoder) -> None:
    """To the rounding of float32; nothing, half a character and more than is read, too."""
    assert encoder._plain is not None
    together = encoder.encode(TEXTS)
    for text, expected in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], expected, atol=1e-6)


def test_what_is_read_of_a_text_is_the_same(encoder: SentenceEncoder) -> None:
    """More words than the router reads change nothing."""
    beginning = "table " * encoder.max_tokens
    np.testing.assert_array_equal(encoder.encode([beginning]), encoder.encode([beginning + "weather " * 50]))


def test_another_architecture_goes_the_long_way(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other pooling, another activation, and weights that do not give what the model gives."""
    model = encoder._model
    monkeypatch.setattr(model[1], "pooling_mode", "cls")
    assert PlainBert.of(model, 128) is None
    monkeypatch.undo()
    monkeypatch.setattr(model[0].model.config, "hidden_act", "relu")
    assert PlainBert.of(model, 128) is None
    monkeypatch.undo()
    assert PlainBert.of(model, 128) is not None
    monkeypatch.setattr(PlainBert, "_normed", staticmethod(lambda rows, _norm: rows / 2))
    assert PlainBert.of(model, 128) is None
