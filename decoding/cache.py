"""Preallocated key-value cache: a slot a sequence, ragged lengths, rollback by number, tree-path commit."""

from collections.abc import Sequence

import torch

from decoding.config import ModelConfig
from decoding.native.memory import roomy_zeros


class KVCache:
    """Keys and values of every layer for ``num_slots`` sequences of at most ``max_length`` tokens.

    A forward writes its rows behind the committed length of their slot; they count only once `commit`
    names the rows to keep. Memory is ``2 * layers * slots * kv_heads * max_length * head_dim`` elements,
    taken at construction.

    Attributes:
        keys, values: [layers, slots, kv_heads, max_length, head_dim].
        lengths: committed tokens a slot.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_slots: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ):
        shape = (config.num_layers, num_slots, config.num_kv_heads, max_length, config.head_dim)
        if device is None or device.type == "cpu":
            self.keys, self.values = roomy_zeros(shape, dtype), roomy_zeros(shape, dtype)
        else:
            self.keys = torch.zeros(shape, dtype=dtype, device=device)
            self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = [0] * num_slots
        self.max_length = max_length
        self._free = list(range(num_slots - 1, -1, -1))

    @property
    def num_bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    @property
    def num_free(self) -> int:
        return len(self._free)

    def allocate(self) -> int:
        """Take an empty slot. The caller checks `num_free` first."""
        slot = self._free.pop()
        self.lengths[slot] = 0
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back; what it holds becomes unreachable at once."""
        assert slot not in self._free, f"slot {slot} released twice"
        self.lengths[slot] = 0
        self._free.append(slot)

    def rollback(self, slot: int, length: int) -> None:
        """Forget everything after the first ``length`` tokens of a slot."""
        assert 0 <= length <= self.lengths[slot], (length, self.lengths[slot])
        self.lengths[slot] = length

    def copy(self, source: int, target: int) -> None:
        """Let slot ``target`` hold what ``source`` holds."""
        length = self.lengths[source]
        for tensor in (self.keys, self.values):
            tensor[:, target, :, :length] = tensor[:, source, :, :length]
        self.lengths[target] = length

    def advance(self, slot: int, count: int) -> None:
        """Keep the first ``count`` rows of the last forward's span: what `commit` does with a prefix, for less."""
        self.lengths[slot] += count

    def commit(self, slot: int, rows: Sequence[int]) -> None:
        """Keep ``rows`` of the last forward's span, in order (a path from the root), and drop the rest.

        A prefix 0, 1, 2, ... costs nothing; any other path is a gather.
        """
        start, count = self.lengths[slot], len(rows)
        if rows != range(count) and [*rows] != [*range(count)]:
            source = torch.tensor([start + row for row in rows], device=self.keys.device)
            for tensor in (self.keys, self.values):
                tensor[:, slot, :, start : start + count] = tensor[:, slot].index_select(2, source)
        self.lengths[slot] = start + count
