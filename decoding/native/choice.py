"""The length controller's choice, compiled: one call for all requests of a step."""

import ctypes
from array import array
from collections.abc import Sequence

from decoding.controller import CATCH_UP_STEPS, LEAST_GAIN, NOTHING, Choice, LengthController, Source

_OPTIONS, _REQUESTS, _CHANCES = 128, 64, 12  # room in choice.h


class CCosts(ctypes.Structure):
    """struct Costs of choice.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("rows", "draft")),
        *((name, ctypes.c_double) for name in ("catch_up_steps", "least_gain")),
    )


class NativeChoice:
    """`LengthController.choose` for chains, bit for bit; trees, and what there is no room for, go to the original.

    Args:
        kernel: see `decoding.native.build.load_kernel`.
    """

    def __init__(self, controller: LengthController, kernel: ctypes.CDLL):
        self._controller, self._choose = controller, kernel.polydraft_choose
        rows, draft = self._tables = tuple(array("d", table) for table in controller.tables)
        self._num_rows, self._longest = len(rows), min(controller.longest, _CHANCES)
        self._costs = CCosts(rows.buffer_info()[0], draft.buffer_info()[0], CATCH_UP_STEPS, LEAST_GAIN)
        self._costs_address = ctypes.addressof(self._costs)
        self._found = array("i", bytes(4 * 2 * _REQUESTS))
        self._found_address = self._found.buffer_info()[0]

    def choose(self, options: Sequence[Sequence[Source]], rows: int, emitting: int, cached: int = 0) -> list[Choice]:
        """See `LengthController.choose`."""
        count, longest = len(options), self._longest
        values = [self._controller.costs.attention(cached), count, 0.0, rows, emitting]
        groups: dict[object, int] = {}
        sources: list[Source] = []
        for index, own in enumerate(options):
            for source in own:
                survival = source.survival
                if source.nodes or len(survival) > longest:
                    return self._controller.choose(options, rows, emitting, cached)
                group = groups.setdefault(source.drafter if source.joint is None else source.joint, len(groups))
                values += (index, group, source.is_free, source.behind, len(survival))
                values += survival
                sources.append(source)
        num_sources = len(sources)
        if num_sources > _OPTIONS or count > _REQUESTS or rows + count * longest >= self._num_rows:
            return self._controller.choose(options, rows, emitting, cached)
        values[2] = num_sources
        packed = array("d", values)
        self._choose(self._costs_address, packed.buffer_info()[0], self._found_address)
        found = iter(self._found[: 2 * count].tolist())
        return [
            Choice(sources[index], length) if length else NOTHING for index, length in zip(found, found, strict=True)
        ]
