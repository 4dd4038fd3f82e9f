"""The forward pass and the draft loop as functions of tensors alone: what a graph can capture."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from decoding.cache import KVCache
from decoding.config import ModelConfig
from decoding.device.attention import PAGE, Attend, attention_for, masked_attention
from decoding.device.layers import embed, float_logits, linear, rms_norm, rotate, widen
from decoding.device.placement import Placement
from decoding.device.rows import PLACE, POSITION, SLOT, SPARE_SLOT, TOKEN
from decoding.device.sampling import choose, laws_of
from decoding.device.weights import DeviceLayer, DeviceWeights
from decoding.rotary import rotary_tables


@dataclass(frozen=True, slots=True)
class Network:
    """All tensors of a model, at addresses that never change; or of several stacked drafts.

    A pass over stacked weights [drafts, ...] has equally many rows of each draft, those of the first one first.

    Attributes:
        cosines, sines: float32 [length, head_dim / 2].
        output_ids: the token ids that the head covers, if not all; see `decoding.device.layers.widen`.
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
        hidden = embed(self.weights.embedding, rows[TOKEN])
        for index, layer in enumerate(self.weights.layers):
            hidden = hidden + self._attention(index, layer, rms_norm(hidden, layer.input_norm, eps), rows, angles, mask)
            wide = linear(rms_norm(hidden, layer.post_norm, eps), layer.gate_up, layer.gate_up_bias)
            gates, ups = wide.chunk(2, dim=-1)
            hidden = hidden + linear(functional.silu(gates) * ups, layer.down, layer.down_bias)
        return rms_norm(hidden, self.weights.final_norm, eps).flatten(0, -2)

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [rows, vocab_size] of rows as `hidden` gives them, or of equally many of each stacked draft."""
        head = self.weights.head
        logits = float_logits(hidden.view(*head.shape[:-2], -1, hidden.size(-1)), head)
        if self.output_ids is not None:
            logits = widen(logits, self.output_ids, self.config.vocab_size)
        return logits.flatten(0, -2)

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
        qkv = linear(normed, layer.qkv, layer.qkv_bias).view(*normed.shape[:-1], -1, config.head_dim)
        sizes = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        queries, keys, values = torch.split(qkv, sizes, dim=-2)
        if layer.query_norm is not None and layer.key_norm is not None:
            queries, keys = rms_norm(queries, layer.query_norm, eps), rms_norm(keys, layer.key_norm, eps)
        queries, keys, values = (each.flatten(0, -3) for each in (queries, keys, values))
        queries, keys = rotate(queries, *angles), rotate(keys, *angles)
        slots, places = rows[SLOT], rows[PLACE]
        all_keys, all_values = self.cache.keys[index], self.cache.values[index]
        all_keys[slots, :, places] = keys
        all_values[slots, :, places] = values
        if mask is None:
            attended = self.attend(queries, all_keys, all_values, slots, places)
        else:
            attended = masked_attention(queries, all_keys, all_values, slots, mask)
        return linear(attended.reshape(*normed.shape[:-1], -1), layer.out, layer.out_bias)


@dataclass(frozen=True, slots=True)
class DraftMode:
    """What a draft loop knows beforehand."""

    rows: int
    requests: int
    steps: int
    has_cuts: bool


def spare_cache(config: ModelConfig, num_slots: int, max_length: int, placement: Placement) -> KVCache:
    """A cache of one slot more than is asked for: padding rows write there. Slots are whole pages."""
    pages = (max_length + PAGE - 1) // PAGE
    cache = KVCache(config, num_slots + 1, pages * PAGE, placement.dtype, placement.device)
    cache.max_length = max_length
    spare = cache.allocate()
    assert spare == SPARE_SLOT
    return cache


def make_network(
    config: ModelConfig, weights: DeviceWeights, cache: KVCache, placement: Placement, output_ids: Tensor | None
) -> Network:
    """Weights and cache with what else a pass needs."""
    cosines, sines = rotary_tables(config, cache.max_length)
    return Network(
        config=config,
        weights=weights,
        cache=cache,
        cosines=cosines.to(placement.device),
        sines=sines.to(placement.device),
        output_ids=output_ids,
        attend=attention_for(cache.keys[0], config.num_heads, placement.exact),
    )
