"""Drafts of one shape whose weights lie behind one another, so that one loop drafts for the requests of all.

A draft loop of a small model is bound by launches: its kernels take longer to start than to run. Six loops one after
the other cost six times one; stacked, they are one, whose products are `torch.bmm` over [drafts, rows, inputs] by
[drafts, outputs, inputs] with the rows of each draft padded to equal numbers. Two other ways were dismissed:

- to gather, for every row, the weights of its draft: each row would write and read a copy, and a step is to read the
  weights of each draft once, whatever the number of its rows;
- to gather the drafts that have requests and multiply by those alone: a copy of every weight, which is three times the
  traffic of reading it, to save the reading of the places that are idle in this step.

So a step reads the weights of all places and computes, for n requests on p places, between n and n * p rows of which
only n count. With up to 32 rows a draft a GPU waits for the weights and not for the products; and the loop that is
recorded depends on row counts alone, never on which drafts have requests. It pays for as long as the idle places'
weights take less time to read than a further loop takes to launch. Where a single draft has requests, it runs by
itself on its place of the stack (`StackedDraft`), which reads no other.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor

from decoding.checkpoint import weight_shapes
from decoding.config import ModelConfig
from decoding.device.drafting import Layout, run_loop
from decoding.device.graphs import Graphs, graphs_on
from decoding.device.model import MOST_CAPTURED, UNCAPTURED, DeviceModel
from decoding.device.passes import Network, make_network, spare_cache
from decoding.device.placement import Placement
from decoding.device.rows import ROW_COUNTS, rows_of
from decoding.device.transfer import upload
from decoding.device.weights import DeviceWeights
from decoding.request import SamplingParams
from decoding.span import Span
from decoding.span_check import check_draft_room, check_spans

_MOST_BEHIND = (
    8  # rows; who has more to catch up with reads them alone, else everybody's rows would be padded to as many
)


def shape_of(config: ModelConfig) -> ModelConfig:
    """What drafts of one stack share: all but the tokens that heads cover or that end texts, and nominal lengths."""
    return replace(config, output_token_ids=None, eos_token_ids=(), max_position_embeddings=0)


class StackedDraft(DeviceModel):
    """The draft in one place of a stack, as a model like any other: its weights are the stack's very tensors.

    The cache is shared: a slot belongs to whoever allocates it.
    """

    def __init__(self, config: ModelConfig, network: Network, placement: Placement, graphs: Graphs, place: int):
        self._set_up(config, network, placement, graphs)
        self.place = place


class DraftStack:
    """Places for drafts of one shape, and one cache for all of them.

    Drafts keep no state of their requests here: slots are theirs who allocate them, and a place forgets a draft when
    another one takes it over.

    Attributes:
        drafts: what is in each place.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_places: int,
        num_slots: int,
        max_length: int,
        placement: Placement,
        head_size: int | None = None,
        graphs: Graphs | None = None,
    ):
        """Take memory for all places.

        Args:
            config: of any of the drafts.
            head_size: columns of the largest head that may come; None where no head is trimmed.
            graphs: as of `DeviceModel`.
        """
        self.shape, self.head_size, self.placement = shape_of(config), head_size, placement
        self.graphs = graphs_on(placement.device) if graphs is None else graphs
        self.cache = spare_cache(config, num_slots, max_length, placement)
        ids = None if head_size is None else torch.arange(head_size, device=placement.device).repeat(num_places, 1)
        like = _like(self.shape)
        if head_size is not None:
            like = replace(like, head=like.head[:head_size])  # also where it was tied: a trimmed head is a copy
        weights = like.each(lambda tensor: _zeros(num_places, tensor, placement))
        self._network = make_network(self.shape, weights, self.cache, placement, ids)
        self.drafts = [self._draft(place) for place in range(num_places)]

    @property
    def num_bytes(self) -> int:
        """Memory of all places, used or not, and of the cache."""
        return self._network.weights.num_bytes + self.cache.num_bytes

    def refusal(self, config: ModelConfig) -> str | None:
        """Why a draft cannot be in this stack; None if it can."""
        ours, theirs = asdict(self.shape), asdict(shape_of(config))
        for name, mine in ours.items():
            if theirs[name] != mine:
                return f"its {name} is {theirs[name]}, and {mine} in the stack"
        if self.head_size is None:
            return None if config.output_token_ids is None else "its head is trimmed, and the stack holds whole ones"
        columns = _num_outputs(config)
        return f"its head has {columns} columns, and the stack {self.head_size}" if columns > self.head_size else None

    def exchange(self, place: int, config: ModelConfig, weights: DeviceWeights) -> StackedDraft:
        """Let a draft have a place, at the addresses of the one before; what was captured runs on the new weights.

        The cache keeps what the one before wrote: its requests are to be forgotten first.

        Args:
            weights: on the stack's device, such as `DeviceModel.prepare` makes.

        Raises:
            ValueError: the draft is of another shape.
        """
        if (reason := self.refusal(config)) is not None:
            raise ValueError(f"the draft does not fit the stack: {reason}")
        draft = self.drafts[place]
        draft.config = config
        draft.network.weights.take_over(weights)
        if draft.network.output_ids is not None:
            kept = range(config.vocab_size) if config.output_token_ids is None else config.output_token_ids
            nowhere = [config.vocab_size] * (len(draft.network.output_ids) - len(kept))
            draft.network.output_ids.copy_(upload([*kept, *nowhere], self.placement.device))
        return draft

    @torch.no_grad()
    def draft_chains(
        self,
        places: Sequence[int],
        spans: Sequence[Span],
        lengths: Sequence[int],
        params: Sequence[SamplingParams],
        uniforms: Sequence[Sequence[float]],
    ) -> tuple[Tensor, Tensor | None]:
        """As `DeviceModel.draft_chains`, each span with the draft in its place of ``places``."""
        check_spans(spans, self.cache, self.shape.vocab_size)
        check_draft_room(spans, lengths, self.cache)
        spans = self._near(places, spans)
        rows = rows_of(spans, self.cache.lengths)
        assert len(rows.wanted) == len(spans)
        layout = Layout.by_draft(places, [len(span.token_ids) for span in spans], len(self.drafts))
        is_small = layout.num_rows <= MOST_CAPTURED * len(self.drafts)
        graphs = self.graphs if is_small else UNCAPTURED
        found = run_loop(self._network, graphs, layout, rows, lengths, params, uniforms)
        for span, length in zip(spans, lengths, strict=True):
            self.cache.lengths[span.slot] += len(span.token_ids) + length - 1
        return found

    def _near(self, places: Sequence[int], spans: Sequence[Span]) -> list[Span]:
        """The spans without what is better read by their own drafts alone."""
        most = _MOST_BEHIND if sum(len(span.token_ids) for span in spans) <= ROW_COUNTS[-1] else 1
        near = list(spans)
        for place, draft in enumerate(self.drafts):
            far = [i for i, span in enumerate(spans) if places[i] == place and len(span.token_ids) > most]
            for i, span in zip(far, draft.read_ahead([spans[i] for i in far]) if far else [], strict=True):
                near[i] = span
        return near

    def _draft(self, place: int) -> StackedDraft:
        weights = self._network.weights.each(lambda tensor: tensor[place])
        ids = self._network.output_ids
        network = replace(self._network, weights=weights, output_ids=None if ids is None else ids[place])
        return StackedDraft(self.shape, network, self.placement, self.graphs.beside(), place)


def _num_outputs(config: ModelConfig) -> int:
    return config.vocab_size if config.output_token_ids is None else len(config.output_token_ids)


def _like(config: ModelConfig) -> DeviceWeights:
    """Shapes without numbers."""
    nowhere = torch.device("meta")
    shapes = {name: torch.empty(shape, device=nowhere) for name, shape in weight_shapes(config).items()}
    return DeviceWeights.fused(config, shapes, nowhere, torch.float32)


def _zeros(count: int, like: Tensor, placement: Placement) -> Tensor:
    return torch.zeros(count, *like.shape, device=placement.device, dtype=placement.dtype)
