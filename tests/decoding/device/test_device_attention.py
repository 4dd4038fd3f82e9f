"""Which attention a device gets: the first that runs and is right."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from decoding.device.attention import Case, attention_for, first_that_agrees, gathered_attention, paged_attention


def case() -> Case:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(3, 4, 8, generator=generator)
    keys, values = (torch.randn(3, 2, 256, 8, generator=generator) for _ in range(2))
    return queries, keys, values, torch.tensor([2, 0, 2]), torch.tensor([255, 0, 17])


def test_gathered_attention_is_attention() -> None:
    """Row by row, written out: a softmax over the places up to the row's own, heads in groups."""
    queries, keys, values, slots, places = case()
    found = gathered_attention(*case())
    for row in range(3):
        end = int(places[row]) + 1
        for head in range(4):
            seen, said = (each[int(slots[row]), head // 2, :end] for each in (keys, values))
            weights = functional.softmax(seen @ queries[row, head] / 8**0.5, dim=0)
            torch.testing.assert_close(found[row, head], weights @ said)


def test_what_does_not_run_or_is_wrong_is_passed_over() -> None:
    """The first right one is taken, behind one that raises and one that sees a place too many."""

    def wrong(queries: Tensor, keys: Tensor, values: Tensor, slots: Tensor, places: Tensor) -> Tensor:
        return gathered_attention(queries, keys, values, slots, (places + 40).clamp(max=255))

    right = partial(gathered_attention)
    assert first_that_agrees([paged_attention, wrong, right], [case()]) is right
    assert first_that_agrees([paged_attention, wrong], [case()]) is gathered_attention


def test_off_a_gpu_rows_gather_what_they_see() -> None:
    """No flash attention on the CPU, whatever the dtype."""
    for dtype in (torch.float32, torch.bfloat16):
        assert attention_for(torch.zeros(2, 2, 256, 8, dtype=dtype), 4, exact=False) is gathered_attention
