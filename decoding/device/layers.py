"""Parts of a layer for one model and for several stacked ones: the weights' dimensions say which.

Stacked weights have the drafts in front, and so have the rows: [drafts, rows, width]. Their products are batched, which
reads the weights of each draft once, however many rows it has.
"""

import torch
from torch import Tensor
from torch.nn import functional


def linear(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """[rows, inputs] by [outputs, inputs], or [drafts, rows, inputs] by [drafts, outputs, inputs]."""
    if matrix.dim() == 2:
        return functional.linear(x, matrix, bias)
    return torch.bmm(x, matrix.mT) if bias is None else torch.baddbmm(bias[:, None], x, matrix.mT)


def float_logits(hidden: Tensor, head: Tensor) -> Tensor:
    """`linear`, summed in float32 whatever the dtype: 16-bit logits tie too often."""
    if head.dtype == torch.float32:
        return linear(hidden, head, None)
    if head.device.type == "cpu":
        return linear(hidden.float(), head.float(), None)
    product = torch.mm if head.dim() == 2 else torch.bmm
    return product(hidden, head.mT, out_dtype=torch.float32)


def rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Over the last dimension; ``scale`` is [width], or [drafts, width] for ``x`` [drafts, ..., width]."""
    if scale.dim() == 1:
        return functional.rms_norm(x, scale.shape, scale, eps)
    # In 16 bits this rounds once more than the fused kernel of a single model does.
    return functional.rms_norm(x, scale.shape[1:], None, eps) * scale.view(len(scale), *[1] * (x.dim() - 2), -1)


def embed(embedding: Tensor, token_ids: Tensor) -> Tensor:
    """[rows, hidden_size]; [drafts, rows / drafts, hidden_size] where ``embedding`` [drafts, ...] is stacked."""
    if embedding.dim() == 2:
        return embedding[token_ids]
    drafts = torch.arange(len(embedding), device=embedding.device)[:, None]
    return embedding[drafts, token_ids.view(len(embedding), -1)]


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate pairs (i, i + dim / 2) of ``x`` [rows, heads, dim] by angles [rows, 1, dim / 2], in float32."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1).to(x.dtype)


def widen(logits: Tensor, output_ids: Tensor, vocab_size: int) -> Tensor:
    """Logits [..., rows, columns] as [..., rows, vocab_size], minus infinity for what no column stands for.

    Args:
        output_ids: int64 [..., columns], the token of each column; ``vocab_size`` for columns that mean nothing.
    """
    wide = logits.new_full((*logits.shape[:-1], vocab_size + 1), -torch.inf)
    return wide.scatter(-1, output_ids.unsqueeze(-2).expand_as(logits), logits)[..., :vocab_size]
