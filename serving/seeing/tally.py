"""Counters and histograms as plain numbers; one thread, no locks. Ratios are taken by whoever asks."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from serving.seeing.catalogue import CATALOGUE, Kind

OTHER = "other"
_MOST_SERIES = 2000  # of one family; a bug in a label must not fill the memory

# Seconds; what vLLM and LitServe users wait for lies between a millisecond and a minute.
BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.04, 0.06),
    *(0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)


class Counter:
    """Sums by label values."""

    def __init__(self, num_labels: int):
        self._others = (OTHER,) * num_labels
        self.values: dict[tuple[str, ...], float] = {} if num_labels else {(): 0.0}

    def add(self, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Count."""
        values = self.values
        if labels in values:
            values[labels] += amount
        else:
            key = labels if len(values) < _MOST_SERIES else self._others
            values[key] = values.get(key, 0.0) + amount

    def forget(self, is_gone: Callable[[tuple[str, ...]], bool]) -> None:
        """Drop the series whose labels ``is_gone`` names."""
        for labels in [labels for labels in self.values if is_gone(labels)]:
            del self.values[labels]


class Histogram:
    """How many values fell into each interval of `BOUNDS`, upper bounds included, and above the last."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a value."""
        observe_in((self,), seconds)

    def add(self, other: "Histogram") -> None:
        """Count all of another's values."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


def observe_in(histograms: Iterable[Histogram], seconds: float) -> None:
    """Count a value in each."""
    index = bisect_left(BOUNDS, seconds)
    for histogram in histograms:
        histogram.counts[index] += 1
        histogram.sum += seconds


def quantile(histograms: Iterable[Histogram], share: float) -> float | None:
    """Estimate of a quantile of several histograms' values, straight between bounds as PromQL does; None of nothing."""
    total = Histogram()
    for histogram in histograms:
        total.add(histogram)
    wanted = share * sum(total.counts)
    if not wanted:
        return None
    below = 0.0
    for index, count in enumerate(total.counts):
        if count and below + count >= wanted:
            return _between(BOUNDS, index, (wanted - below) / count)
        below += count
    return BOUNDS[-1]


def _between(bounds: Sequence[float], index: int, share: float) -> float:
    if index == len(bounds):
        return bounds[-1]
    lower = bounds[index - 1] if index else 0.0
    return lower + (bounds[index] - lower) * share


class Tally:
    """Every counter and histogram of the catalogue, by stem, from 0."""

    def __init__(self) -> None:
        self.counters = {each.stem: Counter(len(each.labels)) for each in CATALOGUE if each.kind is Kind.COUNTER}
        self.histograms = {each.stem: Histogram() for each in CATALOGUE if each.kind is Kind.HISTOGRAM}
