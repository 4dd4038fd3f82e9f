"""Embeddings on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from configs.errors import RouterError
from router import embedding_cache
from router.embedding_cache import CachedEncoder
from router.encoder import Embeddings
from tests.router.stub_encoder import StubEncoder


class Killed(Exception):
    """Stands for the end of a process."""


class DyingEncoder(StubEncoder):
    """Dies at its second batch."""

    def encode(self, texts: Sequence[str]) -> Embeddings:
        if self.encoded:
            raise Killed
        return super().encode(texts)


def test_each_text_is_embedded_once_over_all_runs(tmp_path: Path) -> None:
    """Order and repeats are as asked; a second run over the same folder asks the encoder for nothing."""
    texts = ["b a", "a", "b a", "c c c"]
    first = StubEncoder()
    expected = StubEncoder().encode(texts)
    np.testing.assert_array_equal(CachedEncoder(first, tmp_path).encode(texts), expected)
    assert sorted(first.encoded) == ["a", "b a", "c c c"]
    second = StubEncoder()
    np.testing.assert_array_equal(CachedEncoder(second, tmp_path).encode(texts), expected)
    assert second.encoded == []


def test_a_killed_run_resumes_after_its_last_whole_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was embedded before the end is kept; only the rest is embedded again."""
    monkeypatch.setattr(embedding_cache, "SHARD_SIZE", 3)
    texts = [f"text {number}" for number in range(6)]
    with pytest.raises(Killed):
        CachedEncoder(DyingEncoder(), tmp_path).encode(texts)
    survivor = StubEncoder()
    CachedEncoder(survivor, tmp_path).encode(texts)
    assert len(survivor.encoded) == 3


def test_another_model_shares_nothing(tmp_path: Path) -> None:
    """Embeddings are kept apart by the encoder's fingerprint."""
    CachedEncoder(StubEncoder(), tmp_path).encode(["a"])
    other = StubEncoder(fingerprint="stub-2")
    CachedEncoder(other, tmp_path).encode(["a"])
    assert other.encoded == ["a"]


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    """The error says which file to delete."""
    CachedEncoder(StubEncoder(), tmp_path).encode(["a"])
    (shard,) = (tmp_path / "stub-1").glob("*.npz")
    shard.write_bytes(b"not a shard")
    with pytest.raises(RouterError, match="is not a shard"):
        CachedEncoder(StubEncoder(), tmp_path)
