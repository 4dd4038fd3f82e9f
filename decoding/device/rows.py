"""The rows of a pass, flat, as a device needs them: equal integers for every row, counts from a small set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from decoding.span import Span

ROW_COUNTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 256)
EXACT_ROWS = (64,)
TOKEN, SLOT, PLACE, POSITION = range(4)  # what each row of a packed pass says; padding is all zeros
SPARE_SLOT = 0  # of a device's cache: padding rows write there


@dataclass(slots=True)
class Rows:
    """Rows of one pass, in the order of its spans.

    Attributes:
        token_ids: a negative one, -1 - i, is the i-th drafted token, which only the device knows.
        slots, places: where each row's key goes.
        positions: of the row in its text; equal to its place unless it is a tree's.
        wanted: rows whose logits are returned.
        ancestors: for a tree's rows, the places that they see beyond their slot's committed length; else None.
    """

    token_ids: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    ancestors: list[list[int] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.token_ids)

    def pieces(self, most: int) -> Iterator[range]:
        """Consecutive rows, at most ``most`` at once: later ones see what earlier ones wrote."""
        for start in range(0, len(self), most):
            yield range(start, min(start + most, len(self)))

    def packed(self, rows: range, count: int) -> list[list[int]]:
        """[4, count] integers of some of the rows, padded."""
        padding = [0] * (count - len(rows))
        columns = (self.token_ids, self.slots, self.places, self.positions)
        return [[*islice(column, rows.start, rows.stop), *padding] for column in columns]

    def mask(self, rows: range, count: int, lengths: Sequence[int]) -> Tensor | None:
        """Bool [count, places] of what each row sees, on the CPU; None where each sees all up to its own place."""
        if all(self.ancestors[row] is None for row in rows):
            return None
        mask = torch.zeros(count, 1 + max(self.places[row] for row in rows), dtype=torch.bool)
        mask[len(rows) :, 0] = True  # padding rows must see something
        for index, row in enumerate(rows):
            ancestors = self.ancestors[row]
            if ancestors is None:
                mask[index, : self.places[row] + 1] = True
            else:
                mask[index, : lengths[self.slots[row]]] = True
                mask[index, ancestors] = True
        return mask


def rows_of(spans: Sequence[Span], lengths: Sequence[int]) -> Rows:
    """The rows of spans that follow ``lengths`` committed tokens a slot."""
    rows = Rows()
    for span in spans:
        start, count, first = lengths[span.slot], len(span.token_ids), len(rows)
        rows.token_ids += span.token_ids
        rows.slots += [span.slot] * count
        rows.places += range(start, start + count)
        rows.wanted += range(first + span.logits_from, first + count)
        if _is_chain(span.parents):
            rows.positions += range(start, start + count)
            rows.ancestors += [None] * count
        else:
            assert span.parents is not None
            paths: list[list[int]] = []
            for row, parent in enumerate(span.parents):
                paths.append([*(paths[parent] if parent >= 0 else ()), start + row])
            rows.positions += (start + len(path) - 1 for path in paths)
            rows.ancestors += paths
    return rows


def row_count(rows: int, counts: Sequence[int]) -> int:
    """The least of ``counts`` that holds ``rows`` rows; the greatest if none does."""
    return next((count for count in counts if count >= rows), counts[-1])


def _is_chain(parents: Sequence[int] | None) -> bool:
    return parents is None or all(parent == row - 1 for row, parent in enumerate(parents))
