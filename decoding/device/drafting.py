"""Draft loops as a model and a stack of drafts both run them: what goes up, one recorded loop, what stays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from typing import TypeVar

import torch
from torch import Tensor

from decoding.device.graphs import Graphs
from decoding.device.passes import DraftMode, Network
from decoding.device.rows import ROW_COUNTS, Rows, row_count
from decoding.device.sampling import cuts, settings_of
from decoding.device.transfer import upload
from decoding.request import SamplingParams

T = TypeVar("T")

GREEDY = SamplingParams()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rows and the requests of a loop stand among the padded ones.

    Attributes:
        num_rows, num_requests: with padding.
        rows, requests: the place of each.
    """

    num_rows: int
    num_requests: int
    rows: Sequence[int]
    requests: Sequence[int]

    @classmethod
    def in_order(cls, num_rows: int, num_requests: int) -> "Layout":
        """One draft: padding comes last."""
        padded = row_count(num_rows, ROW_COUNTS), row_count(num_requests, ROW_COUNTS)
        return cls(*padded, range(num_rows), range(num_requests))

    @classmethod
    def by_draft(cls, drafts: Sequence[int], sizes: Sequence[int], num_drafts: int) -> "Layout":
        """As many rows and requests of every draft, those of the first one first.

        Args:
            drafts, sizes: the draft of each request, and its rows.
        """
        ends = [0] * num_drafts
        firsts = []
        for draft, size in zip(drafts, sizes, strict=True):
            firsts.append(ends[draft])
            ends[draft] += size
        counts = [0] * num_drafts
        seats = []
        for draft in drafts:
            seats.append(counts[draft])
            counts[draft] += 1
        rows, requests = row_count(max(ends), ROW_COUNTS), row_count(max(counts), ROW_COUNTS)
        at = [
            draft * rows + first + row
            for draft, first, size in zip(drafts, firsts, sizes, strict=True)
            for row in range(size)
        ]
        seated = [draft * requests + seat for draft, seat in zip(drafts, seats, strict=True)]
        return cls(num_drafts * rows, num_drafts * requests, at, seated)


def run_loop(
    network: Network,
    graphs: Graphs,
    layout: Layout,
    rows: Rows,
    lengths: Sequence[int],
    params: Sequence[SamplingParams],
    uniforms: Sequence[Sequence[float]],
) -> tuple[Tensor, Tensor | None]:
    """Run rows, of which each request wants its last one's logits, and draft on from there.

    Args:
        lengths, params: of each request.
        uniforms: a number in [0, 1) for each of its tokens; none at all where all requests are greedy.

    Returns:
        As `decoding.device.model.DeviceModel.draft_chains`.
    """
    is_greedy = all(each.is_greedy for each in params)
    mode = DraftMode(layout.num_rows, layout.num_requests, max(lengths), cuts(params))
    device = network.cosines.device
    columns = (rows.token_ids, rows.slots, rows.places, rows.positions)
    packed = chain.from_iterable(_spread(column, layout.rows, mode.rows, 0) for column in columns)
    ends = _spread([layout.rows[row] for row in rows.wanted], layout.requests, mode.requests, 0)
    inputs = [upload([*packed, *ends, *_spread(lengths, layout.requests, mode.requests, 0)], device)]
    if not is_greedy:
        settings = settings_of(_spread(params, layout.requests, mode.requests, GREEDY), network.config.vocab_size)
        by_step = zip_longest(*_spread(uniforms, layout.requests, mode.requests, ()), fillvalue=0.0)
        inputs.append(upload([*settings, *by_step], device, torch.float64))
    found = graphs.run(("draft", mode, is_greedy), partial(network.draft, mode=mode), inputs)
    if isinstance(layout.requests, range):  # cloned, since the next loop may write where this one did
        tokens, *laws = (each[: len(layout.requests)].clone() for each in found)
    else:
        seats = upload(layout.requests, device)
        tokens, *laws = (each[seats] for each in found)
    return tokens, laws[0] if laws else None


def _spread(values: Iterable[T], places: Iterable[int], count: int, filler: T) -> list[T]:
    found = [filler] * count
    for place, value in zip(places, values, strict=True):
        found[place] = value
    return found
