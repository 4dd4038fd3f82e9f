"""The traces of one target, by topic and place in the log; a place is a cursor at the beginning of a segment."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from decoding.trace import SpeculationTrace
from decoding.trace_reader import Cursor, TraceReader
from decoding.trace_segment import DamagedSegmentError, list_segments, read_entries

logger = logging.getLogger(__name__)

Topics = Collection[str | None]  # None: traces without a topic


@dataclass(frozen=True, slots=True)
class Log:
    """A folder of traces, of which only those of the target with this fingerprint count."""

    folder: Path
    target: str

    def end(self) -> Cursor:
        """Behind everything that is there now."""
        segments = list_segments(self.folder)
        return Cursor(segments[-1][0] + 1) if segments else Cursor()

    def count(self, topics: Topics, after: Cursor, before: Cursor | None = None) -> int:
        """Traces of ``topics`` from ``after`` on; only headers are read, and each only once."""
        return sum(self._tally(path, topics) for _, path in self._segments(after, before))

    def start_of_newest(self, topics: Topics, most: int, after: Cursor, before: Cursor) -> Cursor:
        """Where the newest ``most`` traces between two places begin, or up to a segment earlier."""
        found, start = 0, before
        for number, path in reversed(self._segments(after, before)):
            if found >= most:
                break
            here = self._tally(path, topics)
            found += here
            start = Cursor(number) if here else start
        return start

    def read(self, topics: Topics, after: Cursor, before: Cursor | None = None) -> Iterator[SpeculationTrace]:
        """Traces of ``topics``, oldest first."""
        reader = TraceReader(self.folder, topics, self.target, after)
        for trace in reader:
            if before is not None and reader.cursor.segment >= before.segment:
                return
            yield trace

    def topics(self, after: Cursor, before: Cursor) -> set[str | None]:
        """All that there are traces of."""
        found = (_tally(path) for _, path in self._segments(after, before))
        return {topic for tally in found for topic, target in tally if target == self.target}

    def _segments(self, after: Cursor, before: Cursor | None) -> list[tuple[int, Path]]:
        last = before.segment if before is not None else float("inf")
        return [(number, path) for number, path in list_segments(self.folder) if after.segment <= number < last]

    def _tally(self, path: Path, topics: Topics) -> int:
        tally = _tally(path)
        return sum(tally[topic, self.target] for topic in set(topics))


@lru_cache(maxsize=1 << 14)  # segments never change
def _tally(path: Path) -> Counter[tuple[str | None, str]]:
    try:
        return Counter((entry.topic, entry.target) for entry in read_entries(path))
    except FileNotFoundError:
        return Counter()
    except DamagedSegmentError as error:
        logger.warning("%s; it is passed over", error)
        return Counter()
