"""Refuses spans that a forward could not run, before any of them touches memory."""

from collections.abc import Sequence

from decoding.cache import KVCache
from decoding.span import Span


def check_spans(spans: Sequence[Span], cache: KVCache, vocab_size: int) -> None:
    """Raise ValueError for a span that names what the model or its cache does not have.

    That is: a slot out of range or used twice in the pass, no rows, more rows than the slot has room for,
    a token id outside the vocabulary, a parent that does not precede its child, logits_from beyond the end.
    """
    if len(spans) > 1 and len({span.slot for span in spans}) < len(spans):
        raise ValueError("two spans of one pass share a slot")
    for span in spans:
        token_ids, slot = span.token_ids, span.slot
        num_rows = len(token_ids)
        if not 0 <= slot < len(cache.lengths):
            raise ValueError(f"slot {slot} is not one of the cache's {len(cache.lengths)}")
        if not num_rows:
            raise ValueError(f"the span of slot {slot} has no tokens")
        if cache.lengths[slot] + num_rows > cache.max_length:
            held = cache.lengths[slot]
            raise ValueError(f"slot {slot} holds {held} tokens and has no room for {num_rows} of {cache.max_length}")
        if min(token_ids) < 0 or max(token_ids) >= vocab_size:
            raise ValueError(f"the span of slot {slot} has a token id outside 0..{vocab_size - 1}")
        if not 0 <= span.logits_from <= num_rows:
            raise ValueError(f"logits_from {span.logits_from} is not within 0..{num_rows}")
        if span.parents is not None:
            _check_parents(span.parents, num_rows)


def check_draft_room(spans: Sequence[Span], lengths: Sequence[int], cache: KVCache) -> None:
    """Raise ValueError where a slot cannot hold its span and all drafted tokens but the last."""
    for span, length in zip(spans, lengths, strict=True):
        if cache.lengths[span.slot] + len(span.token_ids) + length - 1 > cache.max_length:
            raise ValueError(f"slot {span.slot} has no room for {length} drafted tokens")


def _check_parents(parents: list[int], num_rows: int) -> None:
    if len(parents) != num_rows:
        raise ValueError(f"{len(parents)} parents for {num_rows} rows")
    if any(not -1 <= parent < row for row, parent in enumerate(parents)):
        raise ValueError(f"parents must precede their rows: {parents}")
