"""What /health says of topics: proposals appear when their file does, and go when they are answered."""

from types import SimpleNamespace

from router.proposal import Proposals, proposal_file
from serving.health import Board, health_document
from tests.router.test_proposal import proposal


def test_proposals_and_drift_are_shown_as_they_come_and_go(tmp_path):
    file = proposal_file(tmp_path, "toy")
    board = Board(file)
    assert board.open == []
    file.write(Proposals((proposal(),)))
    assert board.open == [{"name": "symptoms", "requests": 80, "words": ["symptoms", "treatments"]}]
    file.note_drift(["sql: queries"])
    assert board.drifted == ["sql: queries"]
    settled = file.read().settled("symptoms", "accepted")
    file.path.unlink()
    assert board.open == []
    file.write(settled)
    assert board.open == []


def test_a_server_that_is_starting_has_no_topics_to_tell_of(tmp_path):
    dispatcher = SimpleNamespace(status=None, worker_died=False)
    document = health_document("toy", 4, dispatcher, Board(proposal_file(tmp_path, "toy")))
    assert document["topics"] == {"added": [], "proposed": [], "drifted": []}
