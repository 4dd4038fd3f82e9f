"""Attention of single rows over the slots of a cache: every row is a sequence of its own.

A row of a verification then runs the kernel that plain decoding runs, whatever stands beside it, and a pass needs no
description of ragged sequences. The price is that a slot's keys are read once for each of its rows.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

logger = logging.getLogger(__name__)

PAGE = 256  # a slot is one page, and flash attention wants pages of a multiple of this

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def paged_attention(queries: Tensor, keys: Tensor, values: Tensor, slots: Tensor, places: Tensor) -> Tensor:
    """Flash attention that reads the slots where they are; 16-bit dtypes on CUDA only.

    Args:
        queries: [rows, heads, dim].
        keys, values: one layer of the cache, [slots, kv_heads, length, dim], the length a multiple of `PAGE`.
        slots, places: of each row; it sees its slot up to its own place.

    Returns:
        [rows, heads, dim].
    """
    starts = torch.arange(len(queries) + 1, device=queries.device, dtype=torch.int32)
    found = varlen_attn(
        queries,
        keys.transpose(1, 2),
        values.transpose(1, 2),
        starts,
        None,
        1,
        keys.size(2),
        enable_gqa=queries.size(1) != keys.size(1),
        seqused_k=(places + 1).int(),
        block_table=slots[:, None].int(),
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


def attention_for(device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, dim: int) -> Attend:
    """`paged_attention` where it runs and agrees with `gathered_attention` on a small case, else the latter."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return gathered_attention
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    case = draw(3, heads, dim), draw(3, kv_heads, 2 * PAGE, dim), draw(3, kv_heads, 2 * PAGE, dim)
    slots, places = torch.tensor([2, 0, 2], device=device), torch.tensor([300, 0, 17], device=device)
    try:
        agrees = torch.allclose(
            paged_attention(*case, slots, places), gathered_attention(*case, slots, places), atol=0.02, rtol=0.02
        )
    except (RuntimeError, ValueError) as error:
        logger.warning("attention copies what it reads, since flash attention over pages does not run: %s", error)
        return gathered_attention
    if not agrees:
        logger.warning("attention copies what it reads, since flash attention over pages computes something else")
    return paged_attention if agrees else gathered_attention
