"""Weights on a device, fused as passes use them, and exchanged in place: captured graphs keep their addresses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from decoding.config import ModelConfig


@dataclass(frozen=True, slots=True)
class DeviceLayer:
    """One decoder layer; matrices are [outputs, inputs]."""

    input_norm: Tensor
    post_norm: Tensor
    query_norm: Tensor | None
    key_norm: Tensor | None
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


class DeviceWeights:
    """One set of weights of an architecture on ``device`` in ``dtype``."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype):
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype)

        def joined(prefix: str, names: tuple[str, ...], kind: str) -> Tensor | None:
            keys = [f"{prefix}.{name}_proj.{kind}" for name in names]
            return torch.cat([moved(weights[key]) for key in keys]) if keys[0] in weights else None

        def matrix(prefix: str, *names: str) -> Tensor:
            found = joined(prefix, names, "weight")
            assert found is not None
            return found

        def norm(name: str) -> Tensor | None:
            return moved(weights[name]) if name in weights else None

        def layer(prefix: str) -> DeviceLayer:
            attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
            return DeviceLayer(
                input_norm=moved(weights[f"{prefix}.input_layernorm.weight"]),
                post_norm=moved(weights[f"{prefix}.post_attention_layernorm.weight"]),
                query_norm=norm(f"{attention}.q_norm.weight"),
                key_norm=norm(f"{attention}.k_norm.weight"),
                qkv=matrix(attention, "q", "k", "v"),
                qkv_bias=joined(attention, ("q", "k", "v"), "bias"),
                out=matrix(attention, "o"),
                out_bias=joined(attention, ("o",), "bias"),
                gate_up=matrix(mlp, "gate", "up"),
                gate_up_bias=joined(mlp, ("gate", "up"), "bias"),
                down=matrix(mlp, "down"),
                down_bias=joined(mlp, ("down",), "bias"),
            )

        self.embedding = moved(weights["model.embed_tokens.weight"])
        self.layers = [layer(f"model.layers.{index}") for index in range(config.num_layers)]
        self.final_norm = moved(weights["model.norm.weight"])
        head = self.embedding if config.tie_embeddings else moved(weights["lm_head.weight"])
        kept = config.output_token_ids
        self.head = head if kept is None else head[torch.tensor(kept, device=head.device)]
        self.num_bytes = sum(tensor.nbytes for tensor in self._distinct())

    def take_over(self, others: "DeviceWeights") -> None:
        """Hold the values of ``others``, a set of the same shapes, at the addresses of this one."""
        for mine, theirs in zip(self._distinct(), others._distinct(), strict=True):
            mine.copy_(theirs)

    def _distinct(self) -> Iterator[Tensor]:
        yield self.embedding
        yield self.final_norm
        if self.head is not self.embedding:
            yield self.head
        for layer in self.layers:
            for each in fields(layer):
                tensor = getattr(layer, each.name)
                if tensor is not None:
                    yield tensor
