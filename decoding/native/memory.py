"""Memory in huge pages, for what a forward streams through.

A forward walks through all weights and the cached keys and values of every request. In pages of 4 KB much of its time
goes to finding pages when several requests run; Linux lends pages of 2 MB to who asks for them.
"""

import ctypes
import functools
import mmap
from collections.abc import Callable
from contextlib import suppress
from math import prod

import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes of a cache line, and of a vector
_CHUNK = 32 << 20


def roomy_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros in memory of their own, taken at once: no request should wait for pages that are new to its slot."""
    room = _mapped(max(1, prod(shape)) * dtype.itemsize).view(dtype)[: prod(shape)].view(shape)
    return room.zero_()


def give_back() -> None:
    """Return to the system what malloc holds free; where it is not glibc's, nothing happens.

    Packing weights takes and frees matrices of many sizes in a thread that malloc gives an arena of its own. What is
    free between small things that stay it would keep: tens of megabytes after some dozens of loads, and more with each.
    Takes about a millisecond; other threads go on meanwhile.
    """
    if (trim := _trim()) is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim


class Arena:
    """Tensors that live side by side, so that small ones share huge pages; freed when the last one is."""

    def __init__(self) -> None:
        self._chunk, self._used = torch.empty(0, dtype=torch.uint8), 0

    def place(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor on the CPU, contiguous, at the beginning of a cache line."""
        size = tensor.nbytes
        if self._used + size > len(self._chunk):
            self._chunk, self._used = _mapped(max(size, _CHUNK)), 0
        room = self._chunk[self._used : self._used + size]
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return room.view(tensor.dtype).view(tensor.shape).copy_(tensor) if size else tensor.contiguous()


def _mapped(num_bytes: int) -> Tensor:
    """Zeros, uint8, at the beginning of a page."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):  # not a Unix
        return torch.zeros(num_bytes, dtype=torch.uint8)
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them; the memory serves all the same
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)
