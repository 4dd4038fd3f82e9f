"""Memory in huge pages."""

import ctypes
import os

import pytest
import torch

from decoding.native import memory
from decoding.native.memory import Arena, give_back, roomy_zeros


def test_roomy_memory_is_zero_and_writable() -> None:
    """In any shape, the empty one included."""
    for shape in ((3, 5), (0, 4), (1,), (1000, 1000)):
        room = roomy_zeros(shape, torch.float32)
        assert room.shape == shape
        assert not room.any()
        room += 1
        assert room.sum() == room.numel()


def test_an_arena_copies_and_keeps_apart() -> None:
    """Tensors of any type and layout, at the beginning of a cache line, whatever is written beside them."""
    arena = Arena()
    sources = [
        torch.arange(5, dtype=torch.int32),
        torch.arange(12.0).view(3, 4).t(),
        torch.ones(7, dtype=torch.bfloat16),
        torch.zeros(0),
        torch.ones((33 << 20) // 4),  # more than a chunk
        torch.tensor([2.5], dtype=torch.float16),
    ]
    placed = [arena.place(source) for source in sources]
    for room, source in zip(placed, sources, strict=True):
        assert torch.equal(room, source)
        assert room.dtype == source.dtype
        assert room.is_contiguous()
        assert room.data_ptr() % 64 == 0
    for room in placed:
        room += 1
    for room, source in zip(placed, sources, strict=True):
        assert torch.equal(room, source + 1)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_free_memory_goes_back_from_between_what_stays() -> None:
    """Pages that malloc keeps for itself since something small lies behind them."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [libc.malloc(ctypes.c_size_t(64 << 10)) for _ in range(512)]
    for block in blocks:
        ctypes.memset(block, 1, 64 << 10)
    for index, block in enumerate(blocks):
        if index % 8:
            libc.free(block)
    before = _resident_pages()
    give_back()
    given = before - _resident_pages()
    for block in blocks[::8]:
        libc.free(block)
    assert given * os.sysconf("SC_PAGE_SIZE") > 20 << 20  # of 28 MiB


def test_where_there_is_no_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others give back by themselves, or never."""
    memory._trim.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    give_back()
    memory._trim.cache_clear()


def _resident_pages() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1])
