import pytest

from decoding.trace_reader import Cursor
from decoding.trace_segment import list_segments
from tests.toy_traces import make_trace
from tests.training.online.streams import write_log
from training.online.log import Log


@pytest.fixture
def log(tmp_path):
    """Three segments of ten sql and five math traces; five of another target."""
    for part in range(3):
        numbers = range(100 * part, 100 * part + 10)
        sql = [make_trace(number) for number in numbers]
        math = [make_trace(number, topic="math") for number in range(5)]
        write_log(tmp_path, [*sql, *math, *(make_trace(number, target="u") for number in range(5))])
    return Log(tmp_path, "t")


def starts(log):
    return [Cursor(number) for number, _ in list_segments(log.folder)]


class TestLog:
    def test_counts_are_by_topic_target_and_place(self, log):
        """Without reading a trace."""
        assert log.count(["sql"], Cursor()) == 30
        assert log.count(["sql", "math"], starts(log)[1]) == 30
        assert log.count(["sql"], Cursor(), starts(log)[1]) == 10
        assert log.count(["sql"], log.end()) == 0
        assert log.count([None], Cursor()) == 0
        assert Log(log.folder, "u").count(["sql"], Cursor()) == 15

    def test_what_comes_later_is_behind_the_end(self, log):
        """However soon."""
        end = log.end()
        write_log(log.folder, [make_trace(7)])
        assert log.count(["sql"], end) == 1
        assert [trace.token_ids[0] for trace in log.read(["sql"], end)] == [7]

    def test_reading_ends_where_it_should(self, log):
        """Oldest first, from one place to the other."""
        found = [trace.token_ids[0] for trace in log.read(["sql"], starts(log)[0], starts(log)[2])]
        assert found == [*range(10), *range(100, 110)]

    @pytest.mark.parametrize(("most", "segment"), [(1, 2), (10, 2), (11, 1), (30, 0), (99, 0)])
    def test_the_newest_begin_at_a_segment(self, log, most, segment):
        """The last one that makes up the number; the first where there are not so many."""
        assert log.start_of_newest(["sql"], most, Cursor(), log.end()) == starts(log)[segment]

    def test_where_there_are_none_they_begin_at_the_end(self, log):
        """So that nothing is read."""
        assert log.start_of_newest([None], 5, Cursor(), log.end()) == log.end()

    def test_a_damaged_file_is_passed_over(self, log):
        """Counted as empty, too."""
        path = list_segments(log.folder)[1][1]
        path.write_bytes(b"nothing")
        assert log.count(["sql"], Cursor()) == 20
        assert len(list(log.read(["sql"], Cursor()))) == 20
