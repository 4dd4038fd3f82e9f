"""The last day in a few hundred numbers: what the dashboard draws. Memory is bounded, whatever the traffic."""

from array import array
from collections import deque
from dataclasses import dataclass, field, fields
from operator import attrgetter

from serving.seeing.tally import OTHER, Histogram

POINTS = 90  # of every range
RANGES = {"15m": 900, "1h": 3600, "24h": 86400}  # seconds
_MOST_CELLS = 256

Cell = tuple[str, str]  # topic, draft


@dataclass(slots=True)
class Counts:
    """Of one topic and draft; ratios are taken last."""

    tokens: int = 0
    runs: int = 0
    drafts: int = 0
    drafted: int = 0  # tokens
    copied: int = 0  # of them, without a draft model
    accepted: int = 0
    answers: int = 0

    def add(self, other: "Counts") -> None:
        self.tokens += other.tokens
        self.runs += other.runs
        self.drafts += other.drafts
        self.drafted += other.drafted
        self.copied += other.copied
        self.accepted += other.accepted
        self.answers += other.answers

    @property
    def tokens_per_run(self) -> float | None:
        return self.tokens / self.runs if self.runs else None


_ROW = attrgetter(*(each.name for each in fields(Counts)))
_WIDTH = len(fields(Counts))


@dataclass(slots=True)
class Span:
    """What happened within one interval of time."""

    _open: dict[Cell, Counts] = field(default_factory=dict)
    _names: tuple[Cell, ...] = ()  # of cells that are packed: a row of counts each
    _packed: "array[int] | None" = None
    first_token: Histogram = field(default_factory=Histogram)
    gap: Histogram = field(default_factory=Histogram)
    running: int = 0  # most at once
    waiting: int = 0
    step_seconds: float = 0.0

    @property
    def cells(self) -> dict[Cell, Counts]:
        """By topic and draft; not to be changed."""
        if self._packed is None:
            return self._open
        rows = (self._packed[at : at + _WIDTH] for at in range(0, len(self._packed), _WIDTH))
        return {name: Counts(*row) for name, row in zip(self._names, rows, strict=True)}

    def cell(self, topic: str, draft: str) -> Counts:
        """The counts of a topic and draft, while the span lasts."""
        if (found := self._open.get((topic, draft))) is None:
            key = (topic, draft) if len(self._open) < _MOST_CELLS else (OTHER, OTHER)
            found = self._open.setdefault(key, Counts())
        return found

    def close(self, known: dict[Cell, Cell]) -> None:
        """Nothing more is counted: keep the cells in a quarter of the memory, with names as others have them."""
        self._names = tuple(known.setdefault(name, name) for name in self._open)
        self._packed = array("q", (count for counts in self._open.values() for count in _ROW(counts)))
        self._open = {}


class Ring:
    """The newest `POINTS` spans of a range; a span begins at a multiple of its width."""

    def __init__(self, seconds: int):
        self.seconds, self.width = seconds, seconds // POINTS
        self._spans: deque[tuple[int, Span]] = deque(maxlen=POINTS)
        self._names: dict[Cell, Cell] = {}

    def at(self, now: float) -> Span:
        """The span that ``now`` (Unix seconds) is in. A clock that goes back stays in the newest one."""
        number = int(now) // self.width
        if not self._spans or number > self._spans[-1][0]:
            self._close()
            self._spans.append((number, Span()))
        return self._spans[-1][1]

    def _close(self) -> None:
        if len(self._names) > _MOST_CELLS:
            self._names.clear()  # whoever has them keeps them
        if self._spans:
            self._spans[-1][1].close(self._names)

    def spans(self, now: float) -> list[tuple[int, Span | None]]:
        """When each of the last `POINTS` spans began, oldest first; None where nothing happened."""
        last = int(now) // self.width
        found = dict(self._spans)
        return [(number * self.width, found.get(number)) for number in range(last - POINTS + 1, last + 1)]


class History:
    """All ranges."""

    def __init__(self) -> None:
        self.rings = {name: Ring(seconds) for name, seconds in RANGES.items()}

    def at(self, now: float) -> list[Span]:
        """The current span of every range: whatever happens is added to all."""
        return [ring.at(now) for ring in self.rings.values()]
