"""Which requests a share of them is: by their ids, so that every process draws the same."""

from zlib import crc32


def is_drawn(key: str, share: float) -> bool:
    """Whether ``key`` is among ``share`` of all keys; of two shares the smaller one's are among the larger one's."""
    return crc32(key.encode()) < share * (1 << 32)
