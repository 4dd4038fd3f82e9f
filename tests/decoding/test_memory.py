"""Memory in huge pages."""

import torch

from decoding.native.memory import Arena, roomy_zeros


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
