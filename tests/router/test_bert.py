"""The short way through BERT gives what the long one gives."""

import numpy as np
import pytest
import torch

from router.bert import PlainBert, has_tiles
from router.encoder import SentenceEncoder, load_encoder

TEXTS = ("How many singers do we have?", "", " ", "x", "😀 é \ud800", "word " * 500, "Write a function.\n\n  def f(x):")


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return load_encoder()


def test_a_text_gets_the_same_embedding_in_any_company(encoder: SentenceEncoder) -> None:
    """Nothing, half a character and more than is read, too."""
    together = encoder.encode(TEXTS)
    for text, expected in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 5e-3)])
def test_embeddings_are_those_of_sentence_transformers(
    encoder: SentenceEncoder, dtype: torch.dtype, tolerance: float
) -> None:
    """To the rounding of the products' type, and of length one."""
    if dtype == torch.bfloat16 and not has_tiles():
        pytest.skip("this processor has no bfloat16 tiles")
    readable = [text for text in TEXTS if "\ud800" not in text]
    expected = encoder._model.encode(readable, normalize_embeddings=True, show_progress_bar=False)
    plain = PlainBert.of(encoder._model, encoder.max_tokens, dtype)
    assert plain is not None
    found = np.stack([plain.embed(text) for text in readable])
    np.testing.assert_allclose(found, expected, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)


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


@pytest.mark.skipif(not has_tiles(), reason="this processor has no bfloat16 tiles")
def test_texts_of_all_lengths_are_computed_in_a_few(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code is made and kept for each number of rows: else a router would grow with every length that it meets."""
    plain = PlainBert.of(encoder._model, encoder.max_tokens, torch.bfloat16)
    assert plain is not None
    multiply, met = torch.ops.mkldnn._linear_pointwise, set()

    def spy(rows: torch.Tensor, *rest: object) -> torch.Tensor:
        met.add(len(rows))
        return multiply(rows, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    for words in range(1, encoder.max_tokens, 7):
        plain.embed("word " * words)
    assert max(met) >= encoder.max_tokens
    assert len(met) <= encoder.max_tokens / 32 + 1
