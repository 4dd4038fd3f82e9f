"""Rotary position embedding: the frequencies that a config asks for, and their cosines and sines."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from configs.errors import CheckpointError
from decoding.config import ModelConfig

DEFAULT_THETA = 10000.0


def rotary_tables(config: ModelConfig, max_length: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, times the config's attention factor.

    Angles are formed in float32 as transformers does, then widened: float64 models agree with it too.

    Returns:
        Two tensors [max_length, head_dim / 2] of ``dtype``.
    """
    frequencies = torch.tensor(config.inv_freq, dtype=torch.float32)
    angles = torch.outer(torch.arange(max_length, dtype=torch.float32), frequencies)
    factor = config.rope_attention_factor
    return (angles.cos() * factor).to(dtype), (angles.sin() * factor).to(dtype)


def rotary_frequencies(
    parameters: Mapping[str, object], head_dim: int, max_position_embeddings: int
) -> tuple[tuple[float, ...], float]:
    """The head_dim / 2 frequencies after scaling, and the attention factor.

    Args:
        parameters: ``rope_parameters`` of config.json, or what `rope_theta` and ``rope_scaling`` amount to.

    Raises:
        CheckpointError: a scaling other than default, linear, llama3 and yarn, or one that lacks its numbers.
    """
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind not in ("default", *_SCALINGS):
        known = ", ".join(("default", *_SCALINGS))
        raise CheckpointError(f"rope scaling {kind!r} is not supported", f"use a model with one of: {known}")
    if parameters.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise CheckpointError("partial_rotary_factor is not supported", "use a model that rotates whole heads")
    length = float(max_position_embeddings)
    numbers = {"max_position_embeddings": length, "original_max_position_embeddings": length}
    for key, value in parameters.items():
        if isinstance(value, int | float):
            numbers[key] = float(value)
    theta = numbers.get("rope_theta", DEFAULT_THETA)
    plain = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    if kind == "default":
        return tuple(plain.tolist()), 1.0
    try:
        frequencies, factor = _SCALINGS[str(kind)](plain, numbers)
    except KeyError as error:
        raise CheckpointError(f"rope scaling {kind!r} lacks {error.args[0]!r}", "complete config.json") from error
    return tuple(frequencies.tolist()), factor


Scaling = Callable[[Tensor, dict[str, float]], tuple[Tensor, float]]


def _linear(frequencies: Tensor, numbers: dict[str, float]) -> tuple[Tensor, float]:
    return frequencies / numbers["factor"], 1.0


def _llama3(frequencies: Tensor, numbers: dict[str, float]) -> tuple[Tensor, float]:
    """Long waves are slowed by ``factor``, short ones kept, those between blended."""
    low, high = numbers["low_freq_factor"], numbers["high_freq_factor"]
    turns = numbers["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    blend = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - blend) * frequencies / numbers["factor"] + blend * frequencies, 1.0


def _yarn(frequencies: Tensor, numbers: dict[str, float]) -> tuple[Tensor, float]:
    """Dimensions that turn often are kept, those that turn seldom slowed by ``factor``, with a ramp between."""
    half = len(frequencies)
    original = numbers["original_max_position_embeddings"]
    factor = numbers.get("factor") or numbers["max_position_embeddings"] / original
    theta = numbers.get("rope_theta", DEFAULT_THETA)

    def dimension(num_turns: float) -> float:
        return half * math.log(original / (num_turns * 2 * math.pi)) / math.log(theta)

    first, last = dimension(numbers.get("beta_fast") or 32.0), dimension(numbers.get("beta_slow") or 1.0)
    if numbers.get("truncate", 1.0):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    width = (last - first) or 0.001
    kept = 1 - ((torch.arange(half, dtype=torch.float32) - first) / width).clamp(0, 1)
    return frequencies / factor * (1 - kept) + frequencies * kept, _yarn_attention_factor(numbers, factor)


def _yarn_attention_factor(numbers: dict[str, float], factor: float) -> float:
    def mscale(multiplier: float) -> float:
        return 0.1 * multiplier * math.log(factor) + 1.0 if factor > 1 else 1.0

    if "attention_factor" in numbers:
        return numbers["attention_factor"]
    upper, lower = numbers.get("mscale"), numbers.get("mscale_all_dim")
    return mscale(upper) / mscale(lower) if upper and lower else mscale(1.0)


_SCALINGS: dict[str, Scaling] = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}
