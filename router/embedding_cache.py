"""Embeddings kept on disk, so that a killed or repeated training run embeds each text once.

The cache is a folder a fingerprint, of shards written whole: ``digests`` uint8 [n, 16], ``vectors`` float32 [n, dim].
It holds digests, not texts.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import RouterError
from router.encoder import Embeddings, Encoder

# Small enough that a killed run loses seconds, large enough that batches sorted by length waste little padding.
SHARD_SIZE = 512
_DIGEST_BYTES = 16
_ABANDONED_SECONDS = 3600.0

Progress = Callable[[int, int], None]


class CachedEncoder:
    """An ``Encoder`` that asks another one only for texts it has not seen.

    Args:
        progress: told how many of the missing texts are embedded, and how many there were, after each shard.
    """

    def __init__(self, encoder: Encoder, folder: Path, progress: Progress | None = None):
        self._encoder, self._progress = encoder, progress
        self.name, self.fingerprint, self.dim = encoder.name, encoder.fingerprint, encoder.dim
        self._folder = folder / encoder.fingerprint
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[bytes, NDArray[np.float32]] = {}
        _tidy(self._folder)
        for path in sorted(self._folder.glob("*.npz")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._known)

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings, float32 [len(texts), dim]; new ones are stored shard by shard on the way."""
        # Padding tells in the last bits: a run that goes on after a kill must come to the batches of one that did not.
        missing = sorted(
            {text for text in texts if _digest(text) not in self._known}, key=lambda text: (len(text), text)
        )
        for start in range(0, len(missing), SHARD_SIZE):
            self._add(missing[start : start + SHARD_SIZE])
            if self._progress is not None:
                self._progress(min(start + SHARD_SIZE, len(missing)), len(missing))
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = self._known[_digest(text)]
        return rows

    def _add(self, texts: list[str]) -> None:
        vectors = self._encoder.encode(texts)
        digests = [_digest(text) for text in texts]
        # Written beside and renamed: a shard is there whole or not at all, even with two runs on one cache.
        shard = self._folder / f"{digests[0].hex()}.npz"
        unfinished = shard.with_suffix(f".{uuid.uuid4().hex}.part")
        with unfinished.open("wb") as file:
            table = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
            np.savez(file, digests=table, vectors=vectors)
        unfinished.replace(shard)
        self._known.update(zip(digests, vectors, strict=True))

    def _read(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as shard:
                digests, vectors = shard["digests"], shard["vectors"]
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise RouterError(f"{path} is not a shard of embeddings", do=f"rm {path}    and start again") from error
        if vectors.shape != (len(digests), self.dim) or not np.isfinite(vectors).all():
            raise RouterError(f"{path} holds embeddings of another size, or NaN", do=f"rm {path}    and start again")
        self._known.update((digest.tobytes(), vector) for digest, vector in zip(digests, vectors, strict=True))


def _tidy(folder: Path) -> None:
    """Remove what killed runs had begun to write; a run that is alive takes seconds for a shard."""
    for unfinished in folder.glob("*.part"):
        if time.time() - unfinished.stat().st_mtime > _ABANDONED_SECONDS:
            unfinished.unlink(missing_ok=True)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_DIGEST_BYTES]
