"""Models of well-known shapes with random weights, made where they run: speed needs no checkpoint."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from decoding.checkpoint import weight_shapes
from decoding.config import ModelConfig
from decoding.device.graphs import Graphs
from decoding.device.model import DeviceModel
from decoding.device.placement import Placement
from decoding.rotary import rotary_frequencies

_SIZES = {  # hidden, intermediate, layers, heads, key-value heads, vocabulary
    "tiny": (64, 96, 2, 4, 2, 256),
    "160m": (768, 3072, 12, 12, 12, 32000),
    "1.1b": (2048, 5632, 22, 32, 4, 32000),
    "7b": (4096, 11008, 32, 32, 32, 32000),
    "33b": (6656, 17920, 60, 52, 52, 32000),
}
SHAPES = tuple(_SIZES)


def shape_config(name: str) -> ModelConfig:
    """The architecture of a Llama of that size."""
    hidden, intermediate, layers, heads, kv_heads, vocab_size = _SIZES[name]
    inv_freq, factor = rotary_frequencies({}, hidden // heads, 4096)
    return ModelConfig(
        family="llama",
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=hidden // heads,
        rms_norm_eps=1e-5,
        inv_freq=inv_freq,
        rope_attention_factor=factor,
        attention_bias=False,
        output_bias=False,
        mlp_bias=False,
        qk_norm=False,
        tie_embeddings=False,
        max_position_embeddings=4096,
        eos_token_ids=(),
    )


def random_model(
    name: str, placement: Placement, num_slots: int = 8, max_length: int = 1024, graphs: Graphs | None = None
) -> DeviceModel:
    """A model of that size that says nothing sensible, as fast as one that does."""
    config = shape_config(name)
    return DeviceModel(config, RandomWeights(config, placement), num_slots, max_length, placement, graphs)


class RandomWeights(Mapping[str, Tensor]):
    """Weights that come into being when they are asked for, so that no second set of them needs room."""

    def __init__(self, config: ModelConfig, placement: Placement, seed: int = 0):
        self._shapes, self._placement = weight_shapes(config), placement
        self._generator = torch.Generator(placement.device).manual_seed(seed)

    def __getitem__(self, name: str) -> Tensor:
        shape = self._shapes[name]
        device, dtype = self._placement.device, self._placement.dtype
        if len(shape) == 1:
            return torch.ones(shape, device=device, dtype=dtype)
        spread = 1.0 if "embed" in name else shape[1] ** -0.5
        return torch.empty(shape, device=device, dtype=dtype).normal_(std=spread, generator=self._generator)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)
