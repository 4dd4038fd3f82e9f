"""Reading a trace log, once or again and again while it grows."""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from decoding.trace import SpeculationTrace
from decoding.trace_segment import DamagedSegmentError, Entry, Segment, list_segments, read_entries

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a log: before trace ``index`` of segment ``segment``. Its text form can be kept and parsed."""

    segment: int = 0
    index: int = 0

    def __str__(self) -> str:
        return f"{self.segment}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The inverse of ``str``.

        Raises:
            ValueError: the text is no cursor.
        """
        segment, _, index = text.partition(":")
        return cls(int(segment), int(index))


class TraceReader:
    """Iterates over the traces of a log, oldest first, from a cursor on.

    Iterating again goes on where the last time ended, with whatever has been written since. Segments that were removed
    meanwhile are passed over; damaged ones, too, and they are reported: each once in the log, all in ``damaged``.

    Args:
        topics: only these; None in it stands for traces without a topic. All without it.
        target: only traces of the target with this fingerprint.

    Attributes:
        cursor: before the next trace; it counts a trace as read when it has been handed out.
        damaged: files that could not be read.
    """

    def __init__(
        self,
        folder: Path,
        topics: Collection[str | None] | None = None,
        target: str | None = None,
        cursor: Cursor | None = None,
    ):
        self._folder, self._topics, self._target = folder, topics, target
        self.cursor = cursor or Cursor()
        self.damaged: list[Path] = []

    def __iter__(self) -> Iterator[SpeculationTrace]:
        for number, path in list_segments(self._folder):
            if number < self.cursor.segment:
                continue
            first = self.cursor.index if number == self.cursor.segment else 0
            for index, trace in self._read(path, first):
                self.cursor = Cursor(number, index + 1)
                yield trace
            self.cursor = Cursor(number + 1)

    def entries(self) -> Iterator[Entry]:
        """What there is from the cursor on, without reading it; the cursor stays."""
        for number, path in list_segments(self._folder):
            if number >= self.cursor.segment:
                first = self.cursor.index if number == self.cursor.segment else 0
                yield from (entry for _, entry in self._wanted(path, first))

    def end(self) -> Cursor:
        """Behind the last trace that there is now, whatever its topic and target."""
        segments = list_segments(self._folder)
        if not segments:
            return self.cursor
        number, path = segments[-1]
        try:
            return Cursor(number, len(read_entries(path)))
        except (FileNotFoundError, DamagedSegmentError):
            return Cursor(number + 1)

    def _read(self, path: Path, first: int) -> Iterator[tuple[int, SpeculationTrace]]:
        wanted = self._wanted(path, first)
        if not wanted:
            return
        try:
            segment = Segment(path)
        except FileNotFoundError:
            return
        except DamagedSegmentError as error:
            self._report(path, error)
            return
        for index, _ in wanted:
            yield index, segment.trace(index)

    def _wanted(self, path: Path, first: int) -> list[tuple[int, Entry]]:
        try:
            entries = read_entries(path)
        except FileNotFoundError:
            return []
        except DamagedSegmentError as error:
            self._report(path, error)
            return []
        return [(index, entry) for index, entry in enumerate(entries) if index >= first and self._wants(entry)]

    def _wants(self, entry: Entry) -> bool:
        is_topic = self._topics is None or entry.topic in self._topics
        return is_topic and self._target in (None, entry.target)

    def _report(self, path: Path, error: DamagedSegmentError) -> None:
        if path not in self.damaged:
            self.damaged.append(path)
            logger.warning("%s; it is passed over", error)
