"""What the step loop and the drafters ask of a language model."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from decoding.cache import KVCache
from decoding.config import ModelConfig
from decoding.span import Span


class LanguageModel(Protocol):
    """A causal language model with a slot cache.

    Implementations: `decoding.native_model.NativeModel` (compiled, CPU) and
    `decoding.torch_model.TorchModel` (reference, and wherever no compiler is).
    """

    config: ModelConfig
    cache: KVCache
    num_weight_bytes: int

    def forward(self, spans: Sequence[Span]) -> Tensor:
        """Run all rows of all spans in one pass and write their keys and values behind each slot's length.

        Returns:
            Logits, float32, [sum of span.num_logits, vocab_size]: the wanted rows of the first span,
            then of the second, and so on. Owned by the caller until the next forward of this model.

        The slots' lengths are left alone: `KVCache.commit` moves them. A row's logits do not depend on
        which other rows share the pass, bit for bit.
        """
        ...
