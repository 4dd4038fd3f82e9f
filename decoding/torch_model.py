"""The same language model in plain torch: the reference, and the fallback where no compiler is.

Row invariance costs speed here. torch picks kernels by shape and splits element-wise work across rows, so
everything that could round differently with other rows around it runs row by row; only the linears see all rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from decoding.cache import KVCache
from decoding.checkpoint import read_config, read_weights
from decoding.config import ModelConfig
from decoding.model import PlainGreedy
from decoding.output_vocabulary import widen
from decoding.rotary import rotary_tables
from decoding.span import Span
from decoding.span_check import check_spans

HAS_PREPACKED = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
PREPACK_ROWS = 8  # the row count that oneDNN is asked to lay weights out for; it serves all others


class TorchModel(PlainGreedy):
    """`LanguageModel` on torch operators, CPU, in any floating dtype."""

    def __init__(
        self,
        config: ModelConfig,
        weights: dict[str, Tensor],
        num_slots: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
    ):
        self.config = config
        self.cache = KVCache(config, num_slots, max_length, dtype)
        self._cosines, self._sines = rotary_tables(config, max_length, dtype)
        self._dtype = dtype
        self._output_ids = None if config.output_token_ids is None else torch.tensor(config.output_token_ids)
        self.exchange(self.prepare(weights))

    @classmethod
    def from_folder(cls, folder: Path, num_slots: int, max_length: int) -> "TorchModel":
        """Load a Hugging Face folder; see `decoding.checkpoint` for what is refused."""
        return cls(read_config(folder, max_length), read_weights(folder), num_slots, max_length)

    def prepare(self, weights: dict[str, Tensor]) -> "TorchWeights":
        """Lay out another set of weights of the same architecture; may run beside forwards, in another thread."""
        return TorchWeights(self.config, {name: tensor.to(self._dtype) for name, tensor in weights.items()})

    def exchange(self, prepared: "TorchWeights") -> None:
        """Use a prepared set from the next forward on. The cache keeps what the old weights wrote."""
        self._weights = prepared
        self.num_weight_bytes = prepared.num_bytes

    @torch.no_grad()
    def forward(self, spans: Sequence[Span]) -> Tensor:
        """See `LanguageModel.forward`. Raises ValueError for spans that cannot be run."""
        check_spans(spans, self.cache, self.config.vocab_size)
        rows = [row for span in spans for row in _rows(span, self.cache.lengths[span.slot])]
        if not rows:
            return torch.empty(0, self.config.vocab_size)
        weights, eps = self._weights, self.config.rms_norm_eps
        positions = torch.tensor([len(row.visible) - 1 for row in rows])
        angles = self._cosines[positions, None], self._sines[positions, None]
        hidden = weights.embedding[torch.tensor([row.token_id for row in rows])]  # [rows, hidden]
        for index, layer in enumerate(weights.layers):
            qkv = layer.qkv(_rms_norm(hidden, layer.input_norm, eps))
            hidden = hidden + layer.out(self._attention(index, layer, rows, qkv, angles))
            gates, ups = layer.gate_up(_rms_norm(hidden, layer.post_norm, eps)).chunk(2, dim=-1)
            hidden = hidden + layer.down(_by_row(functional.silu, gates) * ups)
        wanted = hidden[[index for index, row in enumerate(rows) if row.wanted]]
        if not len(wanted):
            return torch.empty(0, self.config.vocab_size)
        logits = weights.head(_rms_norm(wanted, weights.final_norm, eps)).float()
        return logits if self._output_ids is None else widen(logits, self._output_ids, self.config.vocab_size)

    def _attention(
        self, index: int, layer: "TorchLayer", rows: list["Row"], qkv: Tensor, angles: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Write keys and values of all rows, then let each row attend. ``qkv`` [rows, width] -> [rows, heads * dim]."""
        config, eps = self.config, self.config.rms_norm_eps
        sizes = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        queries, keys, values = torch.split(qkv.view(len(rows), -1, config.head_dim), sizes, dim=1)
        if layer.query_norm is not None and layer.key_norm is not None:
            queries, keys = _rms_norm(queries, layer.query_norm, eps), _rms_norm(keys, layer.key_norm, eps)
        queries, keys = _rotate(queries, *angles), _rotate(keys, *angles)
        slots, places = [row.slot for row in rows], [row.index for row in rows]
        self.cache.keys[index, slots, :, places] = keys
        self.cache.values[index, slots, :, places] = values
        return torch.stack([self._attend(index, row, query) for row, query in zip(rows, queries, strict=True)])

    def _attend(self, index: int, row: "Row", query: Tensor) -> Tensor:
        """One row over the keys it sees, gathered in position order: a tree's row and a chain's are the same call."""
        keys = self.cache.keys[index, row.slot].index_select(1, row.visible)
        values = self.cache.values[index, row.slot].index_select(1, row.visible)
        query = query.clone()[None, :, None]  # [1, heads, 1, dim]; cloned for the same alignment in every pass
        return functional.scaled_dot_product_attention(query, keys[None], values[None], enable_gqa=True).flatten()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a pass: where its key goes in the slot, and which rows of the slot it sees, in position order."""

    token_id: int
    slot: int
    index: int
    visible: Tensor
    wanted: bool


def _rows(span: Span, cached: int) -> Iterator[Row]:
    visible: list[list[int]] = []
    for row, token_id in enumerate(span.token_ids):
        parent = row - 1 if span.parents is None else span.parents[row]
        visible.append([*(range(cached) if parent < 0 else visible[parent]), cached + row])
        yield Row(token_id, span.slot, cached + row, torch.tensor(visible[row]), row >= span.logits_from)


class Linear:
    """y = x W^T + b with W prepacked by oneDNN where that is possible. A row's result is the same in any company."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self._bias = bias
        self._prepacked = weight.dtype == torch.float32 and HAS_PREPACKED
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, PREPACK_ROWS) if self._prepacked else weight

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, inputs] -> [rows, outputs]."""
        if not self._prepacked:
            return _by_row(lambda row: functional.linear(row, self._weight, self._bias), x)
        # oneDNN has a kernel of its own for one row, which sums in another order; two rows and more share one.
        padded = functional.pad(x, (0, 0, 0, 1)) if len(x) == 1 else x.contiguous()
        y: Tensor = torch.ops.mkldnn._linear_pointwise(padded, self._weight, self._bias, "none", [], "")
        return y[: len(x)]


@dataclass(frozen=True, slots=True)
class TorchLayer:
    """One decoder layer."""

    input_norm: Tensor
    post_norm: Tensor
    query_norm: Tensor | None
    key_norm: Tensor | None
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear


class TorchWeights:
    """One immutable set of weights, laid out for `TorchModel`."""

    def __init__(self, config: ModelConfig, weights: dict[str, Tensor]):
        def linear(*names: str, rows: tuple[int, ...] | None = None) -> Linear:
            biases = [weights[f"{name}.bias"] for name in names if f"{name}.bias" in weights]
            matrix = torch.cat([weights[f"{name}.weight"] for name in names])
            matrix = matrix if rows is None else matrix[list(rows)]
            return Linear(matrix, torch.cat(biases) if biases else None)

        def layer(prefix: str) -> TorchLayer:
            attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
            return TorchLayer(
                input_norm=weights[f"{prefix}.input_layernorm.weight"],
                post_norm=weights[f"{prefix}.post_attention_layernorm.weight"],
                query_norm=weights.get(f"{attention}.q_norm.weight"),
                key_norm=weights.get(f"{attention}.k_norm.weight"),
                qkv=linear(*(f"{attention}.{name}_proj" for name in "qkv")),
                out=linear(f"{attention}.o_proj"),
                gate_up=linear(f"{mlp}.gate_proj", f"{mlp}.up_proj"),
                down=linear(f"{mlp}.down_proj"),
            )

        self.embedding = weights["model.embed_tokens.weight"]
        self.layers = [layer(f"model.layers.{index}") for index in range(config.num_layers)]
        self.final_norm = weights["model.norm.weight"]
        self.head = linear("model.embed_tokens" if config.tie_embeddings else "lm_head", rows=config.output_token_ids)
        self.num_bytes = sum(tensor.nbytes for tensor in weights.values())


def _by_row(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of each row by itself, on memory of its own: alignment and neighbours cannot matter."""
    return torch.stack([function(row.clone()) for row in x])


def _rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    return _by_row(lambda row: functional.rms_norm(row, scale.shape, scale, eps), x)


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate pairs (i, i + dim / 2) of ``x`` [rows, heads, dim] by angles [rows, 1, dim / 2]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
