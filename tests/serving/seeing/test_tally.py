import pytest

from serving.seeing.tally import BOUNDS, OTHER, Counter, Histogram, quantile


def test_a_counter_takes_any_number_of_labels_and_keeps_few() -> None:
    """A bug in a label fills one series, not the memory."""
    counter = Counter(2)
    for number in range(10_000):
        counter.add((str(number), "x"))
    assert len(counter.values) == 2001
    assert counter.values[(OTHER, OTHER)] == 8000
    assert sum(counter.values.values()) == 10_000


def test_a_value_at_a_bound_is_below_it() -> None:
    """Prometheus's buckets include their upper bound."""
    histogram = Histogram()
    for value in (BOUNDS[0], BOUNDS[0] + 1e-9, BOUNDS[-1] + 1):
        histogram.observe(value)
    assert histogram.counts[0] == histogram.counts[1] == histogram.counts[-1] == 1
    assert histogram.sum == pytest.approx(2 * BOUNDS[0] + BOUNDS[-1] + 1)


def test_quantiles_lie_between_the_bounds_of_their_bucket() -> None:
    """Straight in between, as PromQL has it; nothing of nothing."""
    assert quantile([Histogram()], 0.5) is None
    one, two = Histogram(), Histogram()
    for _ in range(50):
        one.observe(0.02)
        two.observe(0.2)
    assert quantile([one], 0.5) == pytest.approx(0.02)  # half-way from 0.015 to 0.025
    assert quantile([one, two], 0.25) == pytest.approx(0.02)
    assert quantile([one, two], 0.99) == pytest.approx(0.15 + 0.1 * 0.98)
    far = Histogram()
    far.observe(1e6)
    assert quantile([far], 0.5) == BOUNDS[-1]
