"""Which precision training computes in on this machine."""

from contextlib import AbstractContextManager, nullcontext

import torch


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (Intel's AMX); others emulate it slowly."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def autocast() -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where the processor has units for them, everything else in float32.

    Weights, gradients and optimiser state stay float32 either way.
    """
    return torch.autocast("cpu", dtype=torch.bfloat16) if has_bfloat16_units() else nullcontext()
