"""The last day in a few hundred numbers: what the dashboard draws. Memory is bounded, whatever the traffic."""

from collections import deque
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Span:
    """What happened within one interval of time."""

    cells: dict[Cell, Counts] = field(default_factory=dict)
    first_token: Histogram = field(default_factory=Histogram)
    gap: Histogram = field(default_factory=Histogram)
    running: int = 0  # most at once
    waiting: int = 0
    step_seconds: float = 0.0

    def cell(self, topic: str, draft: str) -> Counts:
        """The counts of a topic and draft."""
        if (found := self.cells.get((topic, draft))) is None:
            key = (topic, draft) if len(self.cells) < _MOST_CELLS else (OTHER, OTHER)
            found = self.cells.setdefault(key, Counts())
        return found


class Ring:
    """The newest `POINTS` spans of a range; a span begins at a multiple of its width."""

    def __init__(self, seconds: int):
        self.seconds, self.width = seconds, seconds // POINTS
        self._spans: deque[tuple[int, Span]] = deque(maxlen=POINTS)

    def at(self, now: float) -> Span:
        """The span that ``now`` (Unix seconds) is in. A clock that goes back stays in the newest one."""
        number = int(now) // self.width
        if not self._spans or number > self._spans[-1][0]:
            self._spans.append((number, Span()))
        return self._spans[-1][1]

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
