"""What a router was measured on, kept with it."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import RouterError
from router.held_out import FILE, HeldOut, read_held_out, write_held_out

KEPT = HeldOut(np.array([[1.0, 0.5], [0.25, 2.0], [0.0, 1.0]], dtype=np.float32), ("b", "a", "b"), "stub-1")


def test_it_comes_back_as_it_was_and_is_written_the_same_way_each_time(tmp_path: Path) -> None:
    write_held_out(KEPT, tmp_path)
    first = (tmp_path / FILE).read_bytes()
    found = read_held_out(tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found.embeddings, KEPT.embeddings)
    assert (found.groups, found.fingerprint) == (KEPT.groups, KEPT.fingerprint)
    write_held_out(found, tmp_path)
    assert (tmp_path / FILE).read_bytes() == first


def test_a_router_may_come_without(tmp_path: Path) -> None:
    assert read_held_out(tmp_path) is None


def test_damage_is_named(tmp_path: Path) -> None:
    """Cut short, or with numbers that are none."""
    write_held_out(KEPT, tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for broken in (whole[:-2], whole[:20], b""):
        (tmp_path / FILE).write_bytes(broken)
        with pytest.raises(RouterError, match="is damaged"):
            read_held_out(tmp_path)
    write_held_out(HeldOut(KEPT.embeddings * np.float32("nan"), KEPT.groups, "stub-1"), tmp_path)
    with pytest.raises(RouterError, match="is damaged"):
        read_held_out(tmp_path)
