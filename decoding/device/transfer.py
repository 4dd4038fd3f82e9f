"""All traffic between host and device goes through here, so that a test can count it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def upload(values: Sequence[Any], device: torch.device, dtype: torch.dtype = torch.int64) -> Tensor:
    """Numbers, nested as the tensor is to be, on ``device``; the host does not wait for the copy."""
    host = torch.tensor(values, dtype=dtype, pin_memory=device.type == "cuda")
    return host.to(device, non_blocking=True)


def read(tensor: Tensor) -> list[Any]:
    """A tensor's numbers, nested as it is. The host waits until the device has come to them."""
    numbers: list[Any] = tensor.tolist()
    return numbers
