"""Weights on a device, fused as passes use them, and exchanged in place: captured graphs keep their addresses."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

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


@dataclass(frozen=True, slots=True)
class DeviceWeights:
    """One set of weights of an architecture, or those of several drafts with one dimension more in front.

    Attributes:
        head: [outputs, hidden_size]; the very tensor of ``embedding`` where both are one.
    """

    embedding: Tensor
    layers: list[DeviceLayer]
    final_norm: Tensor
    head: Tensor

    @classmethod
    def fused(
        cls, config: ModelConfig, weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> "DeviceWeights":
        """A checkpoint's tensors on ``device`` in ``dtype``."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype)

        embedding = moved(weights["model.embed_tokens.weight"])
        head = embedding if config.tie_embeddings else moved(weights["lm_head.weight"])
        kept = config.output_token_ids
        return cls(
            embedding=embedding,
            layers=[_layer(f"model.layers.{index}", weights, moved) for index in range(config.num_layers)],
            final_norm=moved(weights["model.norm.weight"]),
            head=head if kept is None else head[torch.tensor(kept, device=head.device)],
        )

    @property
    def num_bytes(self) -> int:
        """Memory of what is not shared."""
        return sum(tensor.nbytes for tensor in (*self._body(), *([] if self._is_tied else [self.head])))

    def each(self, change: Callable[[Tensor], Tensor]) -> "DeviceWeights":
        """The same with every tensor changed; embedding and head stay one where they are."""
        embedding = change(self.embedding)
        return DeviceWeights(
            embedding=embedding,
            layers=[
                replace(layer, **{name: change(tensor) for name, tensor in _tensors(layer)}) for layer in self.layers
            ],
            final_norm=change(self.final_norm),
            head=embedding if self._is_tied else change(self.head),
        )

    def take_over(self, others: "DeviceWeights") -> None:
        """Hold the values of ``others``, a set of the same shapes, at the addresses of this one.

        A head of its own may be larger than the other's; what is beyond keeps its values.
        """
        for mine, theirs in zip(self._body(), others._body(), strict=True):
            mine.copy_(theirs)
        if not self._is_tied:
            self.head[: len(others.head)].copy_(others.head)

    @property
    def _is_tied(self) -> bool:
        return self.head is self.embedding

    def _body(self) -> Iterator[Tensor]:
        """All but the head."""
        yield self.embedding
        yield self.final_norm
        for layer in self.layers:
            yield from (tensor for _, tensor in _tensors(layer))


def _tensors(layer: DeviceLayer) -> list[tuple[str, Tensor]]:
    found = [(each.name, getattr(layer, each.name)) for each in fields(layer)]
    return [(name, tensor) for name, tensor in found if tensor is not None]


def _layer(prefix: str, weights: Mapping[str, Tensor], moved: Callable[[Tensor], Tensor]) -> DeviceLayer:
    def joined(part: str, names: tuple[str, ...], kind: str) -> Tensor | None:
        keys = [f"{prefix}.{part}.{name}_proj.{kind}" for name in names]
        return torch.cat([moved(weights[key]) for key in keys]) if keys[0] in weights else None

    def matrix(part: str, *names: str) -> Tensor:
        found = joined(part, names, "weight")
        assert found is not None
        return found

    def norm(name: str) -> Tensor | None:
        key = f"{prefix}.{name}.weight"
        return moved(weights[key]) if key in weights else None

    return DeviceLayer(
        input_norm=moved(weights[f"{prefix}.input_layernorm.weight"]),
        post_norm=moved(weights[f"{prefix}.post_attention_layernorm.weight"]),
        query_norm=norm("self_attn.q_norm"),
        key_norm=norm("self_attn.k_norm"),
        qkv=matrix("self_attn", "q", "k", "v"),
        qkv_bias=joined("self_attn", ("q", "k", "v"), "bias"),
        out=matrix("self_attn", "o"),
        out_bias=joined("self_attn", ("o",), "bias"),
        gate_up=matrix("mlp", "gate", "up"),
        gate_up_bias=joined("mlp", ("gate", "up"), "bias"),
        down=matrix("mlp", "down"),
        down_bias=joined("mlp", ("down",), "bias"),
    )
