"""One text through BERT with mean pooling, without the general-purpose code around it.

A quarter of the time of a decision about one query goes to that code and not to arithmetic. Most of the rest goes to
matrix products; a processor with bfloat16 tiles (AMX) computes those in bfloat16, in a third of the time. Sums between
layers, norms and pooling stay in float32. What comes out is compared with sentence-transformers' embedding when the
model is loaded: to the rounding of float32, or to a part in a thousand of the embedding's length with bfloat16.

A text is computed alone, so that its embedding does not depend on the texts it arrives with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-3}  # of a coordinate, where the embedding's length is one
_PROBE = "How many singers do we have?"
_PACKED_ROWS = 128  # the layout is the same for fewer
# Rows of a product are a multiple of it. oneDNN makes code for each number of rows that it meets and keeps it: a
# router that meets texts of every length would grow by 2.5 MiB for each, and answer the first of each late.
_ROWS_TOGETHER = 32

Linear = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Layer:
    """Products of one layer, each rows -> rows; ``attend`` is query, key and value in one."""

    attend: Linear
    join: Linear
    join_norm: Any
    widen: Linear
    """With its GELU."""
    narrow: Linear
    norm: Any


class PlainBert:
    """Makes the embedding of one text; get it with `PlainBert.of`."""

    def __init__(self, tokenizer: Any, bert: Any, max_tokens: int, dtype: torch.dtype):
        self.dtype = dtype
        self._tokenizer, self._max_tokens = tokenizer, max_tokens
        self._heads = int(bert.config.num_attention_heads)
        embeddings = bert.embeddings
        self._words = embeddings.word_embeddings.weight
        self._positions = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        self._norm = embeddings.LayerNorm
        self._layers = [_layer(each, dtype) for each in bert.encoder.layer]

    @classmethod
    def of(cls, model: Any, max_tokens: int, dtype: torch.dtype | None = None) -> Self | None:
        """The same as a sentence-transformers ``model`` for one text; None if that is no such BERT.

        Args:
            dtype: of the matrix products, float32 or bfloat16; None takes what is fastest here.
        """
        kinds = [type(module).__name__ for module in model]
        if kinds != ["Transformer", "Pooling", "Normalize"] or model[1].pooling_mode != "mean":
            return None
        bert = model[0].model
        if type(bert).__name__ != "BertModel" or bert.config.hidden_act != "gelu":
            return None
        dtype = dtype or (torch.bfloat16 if has_tiles() else torch.float32)
        with torch.inference_mode():
            plain = cls(model.tokenizer, bert, max_tokens, dtype)
        expected = model.encode([_PROBE], normalize_embeddings=True, show_progress_bar=False)[0]
        return plain if np.abs(plain.embed(_PROBE) - expected).max() < _TOLERANCE[dtype] else None

    @torch.inference_mode()
    def embed(self, text: str) -> NDArray[np.float32]:
        """Its embedding, float32 [dim], of length one."""
        ids = self._tokenizer(text, truncation=True, max_length=self._max_tokens)["input_ids"]
        rows = self._normed(self._words[torch.tensor(ids)] + self._positions[: len(ids)], self._norm)
        for layer in self._layers:
            rows = self._step(rows, layer)
        return np.asarray(functional.normalize(rows.mean(dim=0), dim=0).numpy(), dtype=np.float32)

    def _step(self, rows: Tensor, layer: _Layer) -> Tensor:
        length, dim = rows.shape
        parts = layer.attend(rows.to(self.dtype)).view(length, 3, self._heads, dim // self._heads)
        query, key, value = parts.permute(1, 2, 0, 3).unsqueeze(1)
        seen = functional.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1).reshape(length, dim)
        rows = self._normed(layer.join(seen) + rows, layer.join_norm)
        return self._normed(layer.narrow(layer.widen(rows.to(self.dtype))) + rows, layer.norm)

    @staticmethod
    def _normed(rows: Tensor, norm: Any) -> Tensor:
        return functional.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def has_tiles() -> bool:
    """Whether this processor multiplies bfloat16 matrices in tiles, and torch knows how."""
    knows_tiles: Callable[[], bool] = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    return knows_tiles() and torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _layer(layer: Any, dtype: torch.dtype) -> _Layer:
    own, output = layer.attention.self, layer.attention.output
    parts = (own.query, own.key, own.value)
    return _Layer(
        attend=_linear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]), dtype),
        join=_linear(output.dense.weight, output.dense.bias, dtype),
        join_norm=output.LayerNorm,
        widen=_linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias, dtype, "gelu"),
        narrow=_linear(layer.output.dense.weight, layer.output.dense.bias, dtype),
        norm=layer.output.LayerNorm,
    )


def _linear(weight: Tensor, bias: Tensor, dtype: torch.dtype, after: str = "none") -> Linear:
    """y = x W^T + b, and GELU after it if that is asked for; packed beforehand where tiles are used."""
    if dtype == torch.float32:
        plain = partial(functional.linear, weight=weight, bias=bias)
        return (lambda rows: functional.gelu(plain(rows))) if after == "gelu" else plain
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), _PACKED_ROWS)
    narrowed = bias.to(dtype)

    def multiply(rows: Tensor) -> Tensor:
        padded = functional.pad(rows, (0, 0, 0, -len(rows) % _ROWS_TOGETHER))
        product: Tensor = torch.ops.mkldnn._linear_pointwise(padded, packed, narrowed, after, [], "none")
        return product[: len(rows)]

    return multiply
