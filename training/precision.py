"""Which precision training computes in on this machine."""

from contextlib import AbstractContextManager, nullcontext

import torch


def has_bfloat16_units(device: str = "cpu") -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware; other processors emulate it slowly.

    Intel's AMX among processors, NVIDIA's cards from Ampere on.
    """
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    return device == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def autocast(device: str = "cpu") -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where the device has units for them, everything else in float32.

    Weights, gradients and optimiser state stay float32 either way.
    """
    return torch.autocast(device, dtype=torch.bfloat16) if has_bfloat16_units(device) else nullcontext()
