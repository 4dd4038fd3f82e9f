"""The length controller's choice, compiled: one call for all requests of a step."""

import ctypes
from array import array
from collections.abc import Sequence

from decoding.controller import CATCH_UP_STEPS, LEAST_GAIN, NOTHING, Choice, LengthController, Source

_SLACK = 16  # rows that no table needs to know, whatever is chosen


class NativeChoice:
    """`LengthController.choose` for chains, bit for bit; trees, and batches beyond its tables, go to the original.

    Args:
        kernel: see `decoding.native.build.load_kernel`.
    """

    def __init__(self, controller: LengthController, kernel: ctypes.CDLL):
        self._controller, self._choose = controller, kernel.polydraft_choose
        rows, draft = controller.tables
        self._num_rows = min(len(rows), len(draft))
        self._tables = array("d", rows), array("d", draft)
        self._rows_address, self._draft_address = (table.buffer_info()[0] for table in self._tables)

    def choose(self, options: Sequence[Sequence[Source]], rows: int, emitting: int, cached: int = 0) -> list[Choice]:
        """See `LengthController.choose`."""
        longest, count = self._controller.longest, len(options)
        heads: list[int] = []
        chances: list[float] = []
        groups: dict[object, int] = {}
        sources: list[Source] = []
        for index, own in enumerate(options):
            for source in own:
                if source.nodes:
                    return self._controller.choose(options, rows, emitting, cached)
                group = groups.setdefault(source.drafter if source.joint is None else source.joint, len(groups))
                survival = source.survival
                heads += (index, group, source.is_free, source.behind, len(survival))
                chances += survival
                sources.append(source)
        if rows + len(chances) + count + _SLACK > self._num_rows:
            return self._controller.choose(options, rows, emitting, cached)
        words = array("i", (count, len(sources), rows, emitting, longest, *heads))
        values = array("d", chances)
        found = array("i", bytes(8 * count))
        self._choose(
            words.buffer_info()[0],
            values.buffer_info()[0],
            self._rows_address,
            self._draft_address,
            self._controller.costs.attention(cached),
            CATCH_UP_STEPS,
            LEAST_GAIN,
            found.buffer_info()[0],
        )
        pairs = iter(found.tolist())
        return [
            Choice(sources[index], length) if length else NOTHING for index, length in zip(pairs, pairs, strict=True)
        ]
