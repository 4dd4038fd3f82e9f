"""A deterministic encoder without a model: words hashed into a few dimensions."""

import hashlib
from collections.abc import Sequence

import numpy as np

from router.encoder import Embeddings


class StubEncoder:
    """Bag of hashed words, length one; texts that share words are near each other."""

    def __init__(self, dim: int = 48, fingerprint: str = "stub-1"):
        self.name, self.fingerprint, self.dim = "stub", fingerprint, dim
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> Embeddings:
        self.encoded += texts
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                digest = hashlib.sha256(word.encode()).digest()
                row[int.from_bytes(digest[:4], "little") % self.dim] += 1.0 if digest[4] % 2 else -1.0
            row /= max(float(np.linalg.norm(row)), 1e-6)
        return rows
