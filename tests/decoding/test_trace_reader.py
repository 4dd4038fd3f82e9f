"""A reader sees every trace that it asks for once, whatever happens to the log meanwhile."""

from pathlib import Path

import pytest

from decoding.trace_reader import Cursor, TraceReader
from decoding.trace_segment import encode, segment_name
from tests.toy_traces import make_trace


def write(folder: Path, number: int, *traces: int, **fields: object) -> Path:
    """A segment with traces of these numbers."""
    data = encode([(float(each), make_trace(each, **fields)) for each in traces])  # type: ignore[arg-type]
    path = folder / segment_name(number, data)
    path.write_bytes(data)
    return path


def numbers(reader: TraceReader) -> list[int]:
    return [trace.token_ids[0] for trace in reader]


def test_a_follower_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """In mid-segment, at a segment's end, after a restart."""
    reader = TraceReader(tmp_path)
    assert numbers(reader) == []
    write(tmp_path, 10, 1, 2, 3)
    write(tmp_path, 11, 4)
    assert next(iter(reader)).token_ids[0] == 1
    reader = TraceReader(tmp_path, cursor=Cursor.parse(str(reader.cursor)))
    assert numbers(reader) == [2, 3, 4]
    assert numbers(reader) == []
    write(tmp_path, 12, 5, 6)
    assert numbers(TraceReader(tmp_path, cursor=reader.cursor)) == numbers(reader) == [5, 6]


def test_topics_and_targets_are_told_apart(tmp_path: Path) -> None:
    """None stands for traces without a topic; the cursor passes over what is not wanted."""
    write(tmp_path, 10, 1, 2, topic="sql")
    write(tmp_path, 11, 3, topic=None)
    write(tmp_path, 12, 4, topic="math")
    write(tmp_path, 13, 5, topic="sql", target="other")
    assert numbers(TraceReader(tmp_path, topics={"sql"})) == [1, 2, 5]
    assert numbers(TraceReader(tmp_path, topics={"sql"}, target="t")) == [1, 2]
    assert numbers(TraceReader(tmp_path, topics={None, "math"})) == [3, 4]
    reader = TraceReader(tmp_path, topics={"sql"}, target="t")
    assert numbers(reader) == [1, 2]
    assert reader.cursor == Cursor(14)


def test_segments_that_are_removed_meanwhile_are_passed_over(tmp_path: Path) -> None:
    """Before the reader comes to them, or while it holds the cursor in one."""
    paths = [write(tmp_path, number, 2 * number, 2 * number + 1) for number in range(4)]
    reader = TraceReader(tmp_path)
    found = []
    for trace in reader:
        found.append(trace.token_ids[0])
        if len(found) == 1:
            paths[1].unlink()
            paths[2].unlink()
    assert found == [0, 1, 6, 7]
    paths[0].unlink()
    assert numbers(TraceReader(tmp_path, cursor=Cursor(0, 1))) == [6, 7]


def test_a_damaged_segment_is_reported_once_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By name; a whole one with another's name is damaged, too."""
    for number in range(3):
        write(tmp_path, number, number)
    torn = write(tmp_path, 5, 5)
    torn.write_bytes(torn.read_bytes()[:-1])
    swapped = write(tmp_path, 6, 6)
    swapped.write_bytes(write(tmp_path, 7, 7).read_bytes())
    reader = TraceReader(tmp_path)
    for _ in range(2):
        assert numbers(reader) == [0, 1, 2, 7]
        reader.cursor = Cursor()
    assert reader.damaged == [torn, swapped]
    assert [path.name in record.message for path, record in zip(reader.damaged, caplog.records, strict=True)] == [
        True
    ] * 2


def test_entries_leave_the_cursor_where_it_is(tmp_path: Path) -> None:
    """They only say what is coming."""
    write(tmp_path, 1, 1, 2)
    write(tmp_path, 2, 3, topic="math")
    reader = TraceReader(tmp_path, topics={"sql"})
    next(iter(reader))
    assert [entry.time for entry in reader.entries()] == [2.0]
    assert numbers(reader) == [2]


@pytest.mark.parametrize("text", ["", "1", "a:b", "1:"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """A job's file may hold anything."""
    with pytest.raises(ValueError, match="invalid literal"):
        Cursor.parse(text)
