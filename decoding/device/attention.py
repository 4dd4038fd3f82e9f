"""Attention of single rows over the slots of a cache: every row is a sequence of its own.

A row of a verification then runs the kernel that plain decoding runs, whatever stands beside it, and a pass needs no
description of ragged sequences. The price is that a slot's keys are read once for each of its rows.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

logger = logging.getLogger(__name__)

PAGE = 256  # a slot is one page, and flash attention wants pages of a multiple of this

Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

_TOLERANCE = 0.02  # of 16-bit outputs that are averages of unit normals


def paged_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    places: Tensor,
    num_splits: int | None = None,
    has_key_starts: bool = False,
) -> Tensor:
    """Flash attention that reads the slots where they are; 16-bit dtypes on CUDA only.

    Args:
        queries: [rows, heads, dim].
        keys, values: one layer of the cache, [slots, kv_heads, length, dim], the length a multiple of `PAGE`.
        slots, places: of each row; it sees its slot up to its own place.
        num_splits: parts that a slot is read in side by side; None lets the kernel choose by the number of rows.
        has_key_starts: some versions of the kernel ask where sequences start, although pages say so.

    Returns:
        [rows, heads, dim].
    """
    starts = torch.arange(len(queries) + 1, device=queries.device, dtype=torch.int32)
    found = varlen_attn(
        queries,
        keys.transpose(1, 2),
        values.transpose(1, 2),
        starts,
        starts * keys.size(2) if has_key_starts else None,
        1,
        keys.size(2),
        enable_gqa=queries.size(1) != keys.size(1),
        seqused_k=(places + 1).int(),
        block_table=slots[:, None].int(),
        num_splits=num_splits,
    )
    assert isinstance(found, Tensor)
    return found


def gathered_attention(queries: Tensor, keys: Tensor, values: Tensor, slots: Tensor, places: Tensor) -> Tensor:
    """The same in any dtype on any device, by copying each row's slot; also the reference."""
    seen = torch.arange(keys.size(2), device=keys.device) <= places[:, None]
    return masked_attention(queries, keys, values, slots, seen)


def masked_attention(queries: Tensor, keys: Tensor, values: Tensor, slots: Tensor, mask: Tensor) -> Tensor:
    """As `gathered_attention`, over the places that ``mask`` [rows, at most length] names: rows of trees."""
    extent = mask.size(1)
    keys, values = (each[:, :, :extent].index_select(0, slots) for each in (keys, values))
    found = functional.scaled_dot_product_attention(
        queries[:, :, None], keys, values, attn_mask=mask[:, None, None], enable_gqa=queries.size(1) != keys.size(1)
    )
    return found[:, :, 0]


def attention_for(keys: Tensor, heads: int, exact: bool) -> Attend:
    """`paged_attention` in the first of its ways that runs and agrees with `gathered_attention`, else the latter.

    Tried on numbers rather than by version: kernels differ in what they accept, and one that combines pages with
    several splits has been wrong (flash-attention issue 1217).

    Args:
        keys: one layer of the cache that it is for, [slots, kv_heads, length, dim].
        exact: prefers one split, which no number of rows changes.
    """
    if not keys.is_cuda or keys.dtype not in (torch.float16, torch.bfloat16):
        return gathered_attention
    ways = [(splits, starts) for splits in ((1, None) if exact else (None, 1)) for starts in (False, True)]
    candidates = [partial(paged_attention, num_splits=splits, has_key_starts=starts) for splits, starts in ways]
    cases = [_case(keys, heads, rows) for rows in (1, 3, 64)]
    return first_that_agrees(candidates, cases)


def first_that_agrees(candidates: Sequence[Attend], cases: Sequence[Case]) -> Attend:
    """The first candidate that gives what `gathered_attention` gives; that itself where none does."""
    for candidate in candidates:
        try:
            if all(
                torch.allclose(candidate(*case), gathered_attention(*case), atol=_TOLERANCE, rtol=_TOLERANCE)
                for case in cases
            ):
                return candidate
            logger.warning("%s computes something else", candidate)
        except (RuntimeError, ValueError, TypeError) as error:
            logger.info("%s does not run here: %s", candidate, error)
    logger.warning("attention copies what it reads: no flash attention over pages runs here and is right")
    return gathered_attention


def _case(keys: Tensor, heads: int, rows: int) -> Case:
    """Random queries over random keys of the cache's length, whole slots and single places among them."""
    generator = torch.Generator(keys.device).manual_seed(rows)
    num_slots, (kv_heads, length, dim) = min(3, keys.size(0)), keys.shape[1:]

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=keys.device, dtype=keys.dtype)

    slots = torch.randint(num_slots, (rows,), generator=generator, device=keys.device)
    places = torch.randint(length, (rows,), generator=generator, device=keys.device)
    places[0], places[-1] = length - 1, length // 2
    shape = num_slots, kv_heads, length, dim
    return draw(rows, heads, dim), draw(*shape), draw(*shape), slots, places
