"""Tiny random models of one shape, for the device's code on any device."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from decoding.checkpoint import weight_shapes
from decoding.config import ModelConfig
from decoding.device.graphs import Graphs
from decoding.device.model import DeviceModel
from decoding.device.placement import CPU, Placement
from decoding.device.stack import DraftStack
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams

CONFIG = ModelConfig(
    family="llama",
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    rms_norm_eps=1e-5,
    inv_freq=(1.0, 0.3, 0.1, 0.03),
    rope_attention_factor=1.0,
    attention_bias=True,
    output_bias=False,
    mlp_bias=False,
    qk_norm=False,
    tie_embeddings=False,
    max_position_embeddings=2048,
    eos_token_ids=(),
)
TOKEN_IDS = [int(value) for value in torch.randint(0, 61, (48,), generator=torch.Generator().manual_seed(1))]


def tiny_weights(
    config: ModelConfig = CONFIG, seed: int = 0, like: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Random weights; with ``like``, some that are close to those."""
    generator = torch.Generator().manual_seed(seed)
    shapes = weight_shapes(config)
    found = {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}
    for name in found:
        if "norm" in name:
            found[name] = 1 + found[name] / 4
    return found if like is None else {name: like[name] + 0.15 * found[name] for name in found}


def tiny_model(
    seed: int = 0,
    config: ModelConfig = CONFIG,
    placement: Placement = CPU,
    graphs: Graphs | None = None,
    num_slots: int = 4,
    max_length: int = 64,
    close_to: int | None = None,
) -> DeviceModel:
    """A model on ``placement``; one that mostly agrees with the model of the seed ``close_to``, if that is given."""
    like = None if close_to is None else tiny_weights(config, close_to)
    return DeviceModel(config, tiny_weights(config, seed, like), num_slots, max_length, placement, graphs)


def tiny_stack(
    drafts: Sequence[DeviceModel],
    num_places: int,
    placement: Placement = CPU,
    graphs: Graphs | None = None,
    num_slots: int = 8,
    max_length: int = 64,
    head_size: int | None = None,
) -> DraftStack:
    """A stack that holds ``drafts`` in its first places."""
    stack = DraftStack(drafts[0].config, num_places, num_slots, max_length, placement, head_size, graphs)
    for place, draft in enumerate(drafts):
        stack.exchange(place, draft.config, draft.network.weights)
    return stack


def small_config(vocab_size: int) -> ModelConfig:
    """`CONFIG` with so few tokens that the law of whole answers can be enumerated."""
    return replace(CONFIG, vocab_size=vocab_size)


def request_of(number: int, prompt: list[int], sampling: SamplingParams, drafter: str | None = None) -> Request:
    """A request whose dice are its number's."""
    return Request(str(number), list(prompt), sampling, SeededRandomness(number), drafter=drafter)
