import logging
import multiprocessing

import pytest

from serving.complaints import VERDICTS, Complaints, Notices, Sender


@pytest.fixture
def ends():
    reader, writer = multiprocessing.Pipe(duplex=False)
    yield Notices(reader), Sender(writer)
    reader.close()
    writer.close()


def test_what_is_wrong_is_logged_once_and_told_as_long_as_it_lasts(caplog):
    told: list[dict[str, str]] = []
    complaints = Complaints("draft", lambda table: told.append(dict(table)))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            complaints.add("sql", "gone")
        complaints.settle("math")
        complaints.settle("sql")
        complaints.add("sql", "gone")
    assert told == [{"sql": "gone"}, {}, {"sql": "gone"}]
    assert [record.getMessage() for record in caplog.records] == [
        "draft sql stays as it is: gone",
        "draft sql is followed again",
        "draft sql stays as it is: gone",
    ]


def test_drafts_with_the_same_trouble_are_one_reason(ends):
    """Its first line; the log has the rest."""
    notices, sender = ends
    sender.send("draft", {"sql": "gone\n  do: start it", "math": "gone\n  do: start it", "chat": "unfit"})
    sender.send("the router", {"the router": "gone"})
    notices.take()
    assert notices.reasons == ["draft sql, math: gone", "draft chat: unfit", "the router: gone"]
    sender.send("draft", {})
    notices.take()
    assert notices.reasons == ["the router: gone"]


def test_verdicts_travel_the_same_way_and_are_no_reason(ends):
    notices, sender = ends
    sender.send(VERDICTS, {"sql": {"promoted": 2, "rolled back": 1}})
    notices.take()
    assert notices.verdicts == {"sql": {"promoted": 2, "rolled back": 1}}
    assert notices.reasons == []


def test_news_that_nobody_reads_never_stops_a_follower(ends):
    """A full pipe drops them."""
    _, sender = ends
    for _ in range(20):
        sender.send("draft", {"sql": "x" * 10_000})
