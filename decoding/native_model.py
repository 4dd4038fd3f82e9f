"""The compiled language model: one C call a forward, on one CPU core."""

import ctypes
from array import array
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from decoding.cache import KVCache
from decoding.checkpoint import read_config, read_weights
from decoding.config import ModelConfig
from decoding.model import walk
from decoding.native.build import load_kernel
from decoding.native.weights import PackedWeights
from decoding.output_vocabulary import widen
from decoding.proposal import Proposal
from decoding.span import Span
from decoding.span_check import check_draft_room, check_spans
from decoding.verification.result import VerificationResult


class CCache(ctypes.Structure):
    """struct Cache of kernel.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "values")),
        *((name, ctypes.c_int32) for name in ("num_slots", "max_length")),
    )


class NativeModel:
    """`LanguageModel` on the compiled kernel, float32.

    A forward releases the GIL. One model runs one forward at a time; different models run side by side.

    Attributes:
        kernel: the compiled library.
        int8: whether its matrices are rounded to bytes.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: dict[str, Tensor],
        num_slots: int,
        max_length: int,
        kernel: ctypes.CDLL | None = None,
        int8: bool = False,
    ):
        """Pack ``weights`` (names as in the checkpoint) and reserve the cache.

        Args:
            int8: round matrices to bytes where the processor has tiles for them; elsewhere they stay as they are.

        Raises:
            KernelError: the kernel cannot be built here.
        """
        self.config = config
        self.cache = KVCache(config, num_slots, max_length)
        self.kernel = kernel or load_kernel()
        self.int8 = int8 and bool(self.kernel.polydraft_has_bytes())
        self._forward, self._argmax = self.kernel.polydraft_forward, self.kernel.polydraft_argmax
        self._walk = self.kernel.polydraft_walk
        keys, values = self.cache.keys.data_ptr(), self.cache.values.data_ptr()
        self._c_cache = CCache(keys, values, num_slots, max_length)
        self._cache_address = ctypes.addressof(self._c_cache)
        self.exchange(self.prepare(weights))
        self._output_ids = None if config.output_token_ids is None else torch.tensor(config.output_token_ids)
        self._capacity = self._logits_capacity = self._num_logits = 0
        self._words = array("i")
        self._reserve(rows=16)
        self._reserve_logits(rows=16)

    @classmethod
    def from_folder(cls, folder: Path, num_slots: int, max_length: int, int8: bool = False) -> "NativeModel":
        """Load a Hugging Face folder; see `decoding.checkpoint` for what is refused."""
        return cls(read_config(folder, max_length), read_weights(folder), num_slots, max_length, int8=int8)

    def prepare(self, weights: dict[str, Tensor]) -> PackedWeights:
        """Pack another set of weights of the same architecture; may run beside forwards, in another thread."""
        kernel = self.kernel
        panel, tiles = kernel.polydraft_panel(), bool(kernel.polydraft_has_tiles())
        return PackedWeights(self.config, weights, self.cache.max_length, panel, tiles, self.int8)

    def exchange(self, prepared: PackedWeights) -> None:
        """Use a prepared set from the next forward on. The cache keeps what the old weights wrote."""
        self._weights = prepared
        self.num_weight_bytes = prepared.num_bytes

    def forward(self, spans: Sequence[Span]) -> Tensor:
        """See `LanguageModel.forward`. Raises ValueError for spans that cannot be run."""
        words, num_logits = self._describe(spans)
        self._words, self._num_logits = words, num_logits
        self._forward(
            self._weights.address,
            self._cache_address,
            words.buffer_info()[0],
            self._floats_address,
            self._integers_address,
            self._logits_address,
        )
        view = self._views.get(num_logits)  # slicing a tensor costs as much as the rest of this function
        if view is None:
            view = self._views[num_logits] = self._logits[:num_logits]
        return view if self._output_ids is None else widen(view, self._output_ids, self.config.vocab_size)

    def argmax(self, logits: Tensor) -> list[int]:
        """See `LanguageModel.argmax`."""
        rows = self._num_logits
        if logits is self._views.get(rows):  # no need to ask the tensor, whose code a forward drives from the caches
            self._argmax(self._logits_address, rows, self.config.vocab_size, self._best_address)
            return self._best[:rows].tolist()
        rows, vocab_size = logits.shape
        best = array("i", bytes(4 * rows))
        self._argmax(logits.contiguous().data_ptr(), rows, vocab_size, best.buffer_info()[0])
        return best.tolist()

    def verify_greedy(self, logits: Tensor, proposals: Sequence[Proposal]) -> list[VerificationResult]:
        """See `LanguageModel.verify_greedy`; the tokens are read where the forward did, behind refused ones none."""
        if logits is not self._views.get(self._num_logits):
            return walk(self.argmax(logits), proposals)
        count = self._walk(
            self._words.buffer_info()[0], self._logits_address, self.config.vocab_size, self._walked.buffer_info()[0]
        )
        found = self._walked[:count].tolist()
        results, end = [], 0
        for _ in proposals:
            start = end + 2
            end = start + found[end]
            results.append(VerificationResult(found[start:end], found[start - 1]))
        assert end == count, "proposals of other spans"
        return results

    def draft(self, spans: Sequence[Span], lengths: Sequence[int]) -> list[list[int]]:
        """See `LanguageModel.draft`; one call of the kernel, however long. Raises ValueError as `forward` does."""
        cache, longest, count = self.cache, max(lengths), len(spans)
        words, num_logits = self._describe(spans)
        assert num_logits == count
        assert min(lengths) > 0
        check_draft_room(spans, lengths, cache)
        limits, owners = array("i", lengths), array("i", bytes(4 * count))
        drafted = array("i", bytes(4 * count * longest))
        self.kernel.polydraft_draft(
            self._weights.address,
            self._cache_address,
            words.buffer_info()[0],
            limits.buffer_info()[0],
            owners.buffer_info()[0],
            longest,
            self._floats_address,
            self._integers_address,
            self._logits_address,
            drafted.buffer_info()[0],
        )
        for span, length in zip(spans, lengths, strict=True):
            cache.lengths[span.slot] += len(span.token_ids) + length - 1
        return [drafted[row * longest :][:length].tolist() for row, length in enumerate(lengths)]

    def _describe(self, spans: Sequence[Span]) -> tuple["array[int]", int]:
        """The pass in the kernel's words, and its number of wanted logits; makes room for both."""
        check_spans(spans, self.cache, self.config.vocab_size)
        heads: list[int] = []
        token_ids: list[int] = []
        parents: list[int] = []
        num_logits = 0
        lengths = self.cache.lengths
        for span in spans:
            num_rows = len(span.token_ids)
            heads += (span.slot, lengths[span.slot], num_rows, span.logits_from, span.is_prompt)
            token_ids += span.token_ids
            parents += range(-1, num_rows - 1) if span.parents is None else span.parents
            num_logits += num_rows - span.logits_from
        num_rows = len(token_ids)
        if num_rows > self._capacity:
            self._reserve(num_rows)
        if num_logits > self._logits_capacity:
            self._reserve_logits(num_logits)
        return array("i", [len(spans), num_rows, *heads, *token_ids, *parents]), num_logits

    def _reserve(self, rows: int) -> None:
        """Scratch for passes of at most ``rows`` rows, a power of two so that it seldom grows."""
        self._capacity = 1 << (rows - 1).bit_length()
        floats = self.kernel.polydraft_scratch(self._weights.address, self._capacity, self.cache.max_length)
        self._floats = torch.empty(floats)
        self._integers = torch.empty(5 * self._capacity, dtype=torch.int32)
        self._walked = array("i", bytes(4 * 3 * self._capacity))  # at most three a row
        self._floats_address = self._floats.data_ptr()
        self._integers_address = self._integers.data_ptr()

    def _reserve_logits(self, rows: int) -> None:
        self._logits_capacity = 1 << (rows - 1).bit_length()
        width = self.config.vocab_size if self._output_ids is None else len(self._output_ids)
        self._logits = torch.empty(self._logits_capacity, width)
        self._logits_address = self._logits.data_ptr()
        self._views: dict[int, Tensor] = {}
        self._best = array("i", bytes(4 * self._logits_capacity))
        self._best_address = self._best.buffer_info()[0]
