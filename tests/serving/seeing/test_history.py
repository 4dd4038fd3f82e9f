import gc

from serving.seeing.history import POINTS, RANGES, Counts, History, Ring
from serving.seeing.tally import OTHER


def test_a_day_of_traffic_takes_no_more_room_than_its_points() -> None:
    """Whatever is asked, and whoever is asked for."""
    history = History()
    for second in range(0, 3 * 86_400, 5):
        for span in history.at(second):
            span.cell(f"topic {second}", "draft").tokens += 1
    for ring in history.rings.values():
        spans = ring.spans(3 * 86_400)
        assert len(spans) == POINTS
        found = [span for _, span in spans if span is not None]
        assert len(found) <= POINTS
        assert all(len(span.cells) <= 257 for span in found)


def test_spans_are_told_with_their_beginning_and_gaps_as_gaps() -> None:
    """Oldest first; a range ends with the span of now."""
    history = History()
    for at in (10_000, 10_400):
        for span in history.at(at):
            span.cell("sql", "sql").tokens += at
    spans = history.rings["15m"].spans(10_405)
    width = RANGES["15m"] // POINTS
    assert [at for at, _ in spans] == [10_400 - width * number for number in reversed(range(POINTS))]
    found = {at: span.cells[("sql", "sql")].tokens for at, span in spans if span is not None}
    assert found == {10_000: 10_000, 10_400: 10_400}


def test_a_clock_that_goes_back_adds_to_the_newest_span() -> None:
    """Time servers do that."""
    history = History()
    history.at(5000)[0].running = 1
    history.at(4000)[0].waiting = 2
    [span] = [span for _, span in history.rings["15m"].spans(5000) if span is not None]
    assert (span.running, span.waiting) == (1, 2)


def test_too_many_topics_of_one_span_share_a_cell() -> None:
    """So that no label fills the memory."""
    span = History().at(0)[0]
    for number in range(1000):
        span.cell(str(number), "draft").tokens += 1
    assert span.cells[(OTHER, OTHER)].tokens == 1000 - 256


def test_spans_that_are_over_hold_no_objects() -> None:
    """But the numbers in a row: else a server grows by megabytes until it knows a whole day."""
    ring = Ring(900)
    before = _num_counts()
    for turn in range(POINTS):
        for topic in range(50):
            ring.at(turn * ring.width).cell(f"topic {topic}", "draft").tokens += turn * topic
    assert _num_counts() - before == 50
    spans = [span for _, span in ring.spans(POINTS * ring.width - 1) if span is not None]
    assert len(spans) == POINTS
    for turn, span in enumerate(spans):
        assert [span.cells[f"topic {topic}", "draft"].tokens for topic in range(50)] == [turn * n for n in range(50)]
    names = {id(name) for span in spans[:-1] for name in span.cells}
    assert len(names) == 50


def _num_counts() -> int:
    return sum(isinstance(each, Counts) for each in gc.get_objects())
