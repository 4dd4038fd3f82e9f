"""`LanguageModel` on an accelerator: all rows of a pass in the same kernels, passes in few sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from decoding.checkpoint import read_config, read_weights
from decoding.config import ModelConfig
from decoding.device import transfer
from decoding.device.drafting import GREEDY, Layout, run_loop
from decoding.device.graphs import Graphs, graphs_on
from decoding.device.passes import Network, make_network, spare_cache
from decoding.device.placement import Placement
from decoding.device.rows import EXACT_ROWS, ROW_COUNTS, Rows, row_count, rows_of
from decoding.device.transfer import upload
from decoding.device.weights import DeviceWeights
from decoding.model import PlainGreedy
from decoding.request import SamplingParams
from decoding.span import Span
from decoding.span_check import check_draft_room, check_spans

MOST_CAPTURED = 64  # rows; larger passes read prompts and keep the device busy without a graph
UNCAPTURED = Graphs()


class DeviceModel(PlainGreedy):
    """A model on ``placement.device``.

    The cache has one slot more than was asked for: padding rows write there.

    Attributes:
        drafted: int64, on the device: what negative token ids of the next pass stand for, -1 - i the i-th.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Tensor],
        num_slots: int,
        max_length: int,
        placement: Placement,
        graphs: Graphs | None = None,
    ):
        """Take memory for weights and cache.

        Args:
            graphs: that passes run through; without them, CUDA's on a GPU, and none elsewhere.
        """
        kept, device = config.output_token_ids, placement.device
        cache = spare_cache(config, num_slots, max_length, placement)
        network = make_network(
            config,
            DeviceWeights.fused(config, weights, device, placement.dtype),
            cache,
            placement,
            None if kept is None else torch.tensor(kept, device=device),
        )
        self._set_up(config, network, placement, graphs_on(device) if graphs is None else graphs)

    def _set_up(self, config: ModelConfig, network: Network, placement: Placement, graphs: Graphs) -> None:
        self.config, self.placement = config, placement
        self.network, self.cache, self.graphs = network, network.cache, graphs
        self.num_weight_bytes = network.weights.num_bytes
        self.drafted: Tensor | None = None
        self._counts = EXACT_ROWS if placement.exact else ROW_COUNTS

    @classmethod
    def from_folder(cls, folder: Path, num_slots: int, max_length: int, placement: Placement) -> "DeviceModel":
        """Load a Hugging Face folder; see `decoding.checkpoint` for what is refused."""
        return cls(read_config(folder, max_length), read_weights(folder), num_slots, max_length, placement)

    def prepare(self, weights: Mapping[str, Tensor]) -> DeviceWeights:
        """Bring another set of weights of the same architecture to the device; may run beside passes."""
        return DeviceWeights.fused(self.config, weights, self.placement.device, self.placement.dtype)

    def exchange(self, prepared: DeviceWeights) -> None:
        """Use a prepared set from the next pass on, at the old set's addresses. The cache keeps what those wrote."""
        self.network.weights.take_over(prepared)

    @torch.no_grad()
    def forward(self, spans: Sequence[Span]) -> Tensor:
        """See `LanguageModel.forward`; negative token ids stand for `drafted` ones.

        Unlike on a CPU, a row's last bits may depend on how many rows share the pass, unless the placement is exact.
        """
        check_spans([self._known(span) for span in spans], self.cache, self.config.vocab_size)
        rows = rows_of(spans, self.cache.lengths)
        pieces = list(rows.pieces(self._counts[-1]))
        found = [self._piece(rows, piece, is_only=len(pieces) == 1) for piece in pieces]
        logits = [each for each in found if each is not None]
        if not logits:
            return torch.empty(0, self.config.vocab_size, device=self.placement.device)
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def draft(self, spans: Sequence[Span], lengths: Sequence[int]) -> list[list[int]]:
        """See `LanguageModel.draft`."""
        drafted, _ = self.draft_chains(spans, lengths, [GREEDY] * len(spans), [])
        return [tokens[:length] for tokens, length in zip(transfer.read(drafted), lengths, strict=True)]

    @torch.no_grad()
    def draft_chains(
        self,
        spans: Sequence[Span],
        lengths: Sequence[int],
        params: Sequence[SamplingParams],
        uniforms: Sequence[Sequence[float]],
    ) -> tuple[Tensor, Tensor | None]:
        """As `draft`, drawn as each request's ``params`` say, and without waiting for the device.

        Args:
            uniforms: of each request, a number in [0, 1) for each of its tokens; none at all where all are greedy.

        Returns:
            Tokens int64 [spans, longest] and, unless all are greedy, their laws [spans, longest, vocab_size]. What
            stands behind a span's own length means nothing.
        """
        check_spans(spans, self.cache, self.config.vocab_size)
        check_draft_room(spans, lengths, self.cache)
        if sum(len(span.token_ids) for span in spans) > ROW_COUNTS[-1]:
            spans = self.read_ahead(spans)
        rows = rows_of(spans, self.cache.lengths)
        assert len(rows.wanted) == len(spans)
        layout = Layout.in_order(len(rows), len(spans))
        found = run_loop(self.network, self._graphs_for(layout.num_rows), layout, rows, lengths, params, uniforms)
        for span, length in zip(spans, lengths, strict=True):
            self.cache.lengths[span.slot] += len(span.token_ids) + length - 1
        return found

    def resolve(self, token_ids: Tensor) -> Tensor:
        """Token ids with the drafted ones in place of negative numbers."""
        if self.drafted is None:
            return token_ids
        return torch.where(token_ids < 0, self.drafted[(-1 - token_ids).clamp(min=0)], token_ids)

    def read_ahead(self, spans: Sequence[Span]) -> list[Span]:
        """Read and commit all rows but the last of each span; what is left."""
        counts = [len(span.token_ids) - 1 for span in spans]
        pairs = list(zip(spans, counts, strict=True))
        self.forward([replace(span, token_ids=span.token_ids[:n], logits_from=n) for span, n in pairs if n])
        for span, count in pairs:
            self.cache.commit(span.slot, range(count))
        return [Span(span.slot, span.token_ids[-1:]) for span in spans]

    def _piece(self, rows: Rows, piece: range, is_only: bool) -> Tensor | None:
        """Run some rows of a pass; the logits of those that are wanted, None where none is."""
        count = row_count(len(piece), self._counts)
        packed = upload(rows.packed(piece, count), self.placement.device)
        packed[0] = self.resolve(packed[0])
        wanted = [row - piece.start for row in rows.wanted if row in piece]
        mask = rows.mask(piece, count, self.cache.lengths)
        if mask is not None:
            (found,) = self._pass(packed, bool(wanted), mask.to(self.placement.device))
        else:
            key = "pass", count, bool(wanted)
            (found,) = self._graphs_for(count).run(key, partial(self._pass, has_head=bool(wanted)), (packed,))
        if not wanted:
            return None
        if wanted == [*range(wanted[0], wanted[-1] + 1)]:
            chosen = found[wanted[0] : wanted[-1] + 1]
            return chosen if is_only else chosen.clone()  # the next piece may be written to the same place
        return found[upload(wanted, self.placement.device)]

    def _pass(self, rows: Tensor, has_head: bool, mask: Tensor | None = None) -> tuple[Tensor]:
        hidden = self.network.hidden(rows, mask)
        return (self.network.logits(hidden) if has_head else hidden,)

    def _graphs_for(self, rows: int) -> Graphs:
        return self.graphs if rows <= MOST_CAPTURED else UNCAPTURED

    def _known(self, span: Span) -> Span:
        """The span with a known token in place of each drafted one."""
        if self.drafted is None or min(span.token_ids, default=0) >= 0:
            return span
        assert min(span.token_ids) >= -len(self.drafted)
        return replace(span, token_ids=[max(0, token_id) for token_id in span.token_ids])
