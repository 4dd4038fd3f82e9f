"""Weights of a checkpoint without torch, which some peers' environments lack; numpy has no bfloat16 of its own."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import deserialize

_TYPES = {"F32": np.float32, "F16": np.float16}


def read_float32(file: Path) -> dict[str, NDArray[np.float32]]:
    """All tensors of a safetensors file, widened exactly.

    Raises:
        ValueError: one is stored as something else than float32, float16 or bfloat16.
    """
    document: list[tuple[str, dict[str, Any]]] = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    return {name: _widened(name, each["dtype"], each["data"]).reshape(each["shape"]) for name, each in document}


def _widened(name: str, dtype: str, data: bytes) -> NDArray[np.float32]:
    if dtype == "BF16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dtype not in _TYPES:
        raise ValueError(f"{name} is stored as {dtype}")
    return np.frombuffer(data, _TYPES[dtype]).astype(np.float32)
