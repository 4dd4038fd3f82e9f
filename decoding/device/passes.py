"""The forward pass and the draft loop as functions of tensors alone: what a graph can capture."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from decoding.cache import KVCache
from decoding.config import ModelConfig
from decoding.device.attention import Attend, masked_attention
from decoding.device.rows import PLACE, POSITION, SLOT, SPARE_SLOT, TOKEN
from decoding.device.sampling import choose, laws_of
from decoding.device.weights import DeviceLayer, DeviceWeights


@dataclass(frozen=True, slots=True)
class Network:
    """All tensors of a model, at addresses that never change.

    Attributes:
        cosines, sines: float32 [length, head_dim / 2].
        output_ids: the token ids that the head covers, if not all.
    """

    config: ModelConfig
    weights: DeviceWeights
    cache: KVCache
    cosines: Tensor
    sines: Tensor
    output_ids: Tensor | None
    attend: Attend

    def hidden(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Write keys and values of all rows; [rows, hidden_size] after the last norm.

        Args:
            rows: int64 [4, rows], see `decoding.device.rows`.
            mask: bool [rows, places] of what each row sees; without it, its slot up to its own place.
        """
        eps = self.config.rms_norm_eps
        angles = self.cosines[rows[POSITION], None], self.sines[rows[POSITION], None]
        hidden = self.weights.embedding[rows[TOKEN]]
        for index, layer in enumerate(self.weights.layers):
            hidden = hidden + self._attention(
                index, layer, _rms_norm(hidden, layer.input_norm, eps), rows, angles, mask
            )
            wide = functional.linear(_rms_norm(hidden, layer.post_norm, eps), layer.gate_up, layer.gate_up_bias)
            gates, ups = wide.chunk(2, dim=-1)
            hidden = hidden + functional.linear(functional.silu(gates) * ups, layer.down, layer.down_bias)
        return _rms_norm(hidden, self.weights.final_norm, eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [rows, vocab_size], summed in float32 whatever the dtype: 16-bit logits tie too often."""
        head = self.weights.head
        if head.dtype == torch.float32:
            logits = functional.linear(hidden, head)
        elif head.device.type == "cpu":
            logits = functional.linear(hidden.float(), head.float())
        else:
            logits = torch.mm(hidden, head.t(), out_dtype=torch.float32)
        if self.output_ids is None:
            return logits
        wide = logits.new_full((len(logits), self.config.vocab_size), -torch.inf)
        return wide.index_copy(1, self.output_ids, logits)

    def draft(self, integers: Tensor, dice: Tensor | None = None, *, mode: "DraftMode") -> tuple[Tensor, ...]:
        """Run rows, then let each request go on, token by token.

        Args:
            integers: int64, one after the other: the rows [4, rows], each request's last row [requests], and how many
                tokens it wants [requests]; one that has its own goes on idly.
            dice: float64 [4 + steps, requests], settings and a number in [0, 1) for each token, as in
                `decoding.device.sampling`; None where all are greedy.

        Returns:
            Tokens int64 [requests, steps]; and, unless all are greedy, their laws [requests, steps, vocab_size].
        """
        flat, ends, lengths = torch.split(integers, [4 * mode.rows, mode.requests, mode.requests])
        rows = flat.view(4, mode.rows)
        slots, places = rows[SLOT, ends], rows[PLACE, ends]
        logits = self.logits(self.hidden(rows)[ends])
        tokens: list[Tensor] = []
        laws: list[Tensor] = []
        for step in range(mode.steps):
            if step:
                is_busy = lengths > step
                place = torch.where(is_busy, places + step, 0)
                slot = torch.where(is_busy, slots, SPARE_SLOT)
                logits = self.logits(self.hidden(torch.stack([tokens[-1], slot, place, place])))
            if dice is None:
                tokens.append(logits.argmax(dim=-1))
            else:
                laws.append(laws_of(logits, dice[:4], mode.has_cuts))
                tokens.append(choose(laws[-1], dice[4 + step]))
        drafted = torch.stack(tokens, dim=1)
        return (drafted, torch.stack(laws, dim=1)) if laws else (drafted,)

    def _attention(
        self,
        index: int,
        layer: DeviceLayer,
        normed: Tensor,
        rows: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        config, eps = self.config, self.config.rms_norm_eps
        qkv = functional.linear(normed, layer.qkv, layer.qkv_bias).view(len(normed), -1, config.head_dim)
        sizes = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        queries, keys, values = torch.split(qkv, sizes, dim=1)
        if layer.query_norm is not None and layer.key_norm is not None:
            queries, keys = _rms_norm(queries, layer.query_norm, eps), _rms_norm(keys, layer.key_norm, eps)
        queries, keys = _rotate(queries, *angles), _rotate(keys, *angles)
        slots, places = rows[SLOT], rows[PLACE]
        all_keys, all_values = self.cache.keys[index], self.cache.values[index]
        all_keys[slots, :, places] = keys
        all_values[slots, :, places] = values
        if mask is None:
            attended = self.attend(queries, all_keys, all_values, slots, places)
        else:
            attended = masked_attention(queries, all_keys, all_values, slots, mask)
        return functional.linear(attended.flatten(1), layer.out, layer.out_bias)


@dataclass(frozen=True, slots=True)
class DraftMode:
    """What a draft loop knows beforehand."""

    rows: int
    requests: int
    steps: int
    has_cuts: bool


def _rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    return functional.rms_norm(x, scale.shape, scale, eps)


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate pairs (i, i + dim / 2) of ``x`` [rows, heads, dim] by angles [rows, 1, dim / 2], in float32."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1).to(x.dtype)
