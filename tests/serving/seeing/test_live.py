import json
from pathlib import Path

import numpy as np
import pytest

from router.costs import HEADER, CostTable
from serving.seeing.history import POINTS, RANGES
from serving.seeing.live import live_document
from serving.seeing.regret_file import TopicRegret
from serving.seeing.shadow_table import ShadowTable
from serving.wire import AuditState, Load, Routing, Status, StepMessage
from tests.serving.seeing.toy_watch import C, D, P, Stage


@pytest.fixture
def stage() -> Stage:
    """Two answers: one of sql by its draft, one that nothing was proposed for, with a swap in between."""
    stage = Stage(slots=4)
    stage.say(drafts={"general": "general@v1", "sql": "sql@v1"})
    stage.open("a")
    stage.route("a")
    stage.run("a", 4, [D, D, C])
    stage.run("a", 4, [D, C], "stop")
    stage.watch.closed("a", is_answered=True)
    stage.now += 100
    stage.say(drafts={"general": "general@v1", "sql": "sql@v2"}, load=Load(running=2, waiting=1))
    stage.open("b")
    stage.route("b", Routing(None, "none", None, "asked"))
    stage.run("b", 0, [P], "length")
    stage.watch.closed("b", is_answered=True)
    return stage


def test_the_document_says_what_happened(stage: Stage) -> None:
    """Sums before ratios; every series has a point for every time."""
    document = live_document(stage.watch, "15m", {}, {}, {"sql": "champion"})
    assert json.loads(json.dumps(document)) == document
    assert document["drafts"][1] == {"name": "sql", "version": "v2", "alias": "champion"}
    figures = document["figures"]
    assert (figures["answers"], figures["tokens"]) == (2, 6)
    assert figures["tokens_per_run"] == 2.0
    assert figures["mean_acceptance_length"] == 2.5
    assert figures["tokens_per_second"] == 0.06  # within the 100 seconds that the server has been there
    [sql] = document["topics"]
    assert (sql["topic"], sql["version"], sql["tokens_per_run"], sql["share"]) == ("sql", "v2", 2.5, 0.5)
    assert [value for value in sql["series"] if value is not None] == [2.5]
    assert [(mark["version"], mark["before"]) for mark in sql["marks"]] == [("v2", "v1")]
    for series in (sql["series"], *document["load"]["series"].values()):
        assert len(series) == len(document["times"])
    assert 10 <= len(document["times"]) <= 12 < POINTS  # the server has been there for 100 of 900 seconds
    assert max(document["load"]["series"]["running"]) == 2


def test_the_matrix_has_live_figures_first_and_scored_ones_elsewhere(stage: Stage) -> None:
    """A row for every topic with a draft and for what was met; regret in runs of 1,000 tokens."""
    shadow = {("sql", "general"): 1.8, ("sql", "sql"): 9.9}
    matrix = live_document(stage.watch, "1h", shadow, {"sql": TopicRegret(500, 4)}, {})["matrix"]
    assert matrix["drafts"] == ["general", "sql", "none"]
    sql, nothing = matrix["rows"]
    assert (sql["topic"], nothing["topic"]) == ("sql", "none")
    assert sql["cells"][:2] == [
        {"answers": 0, "tokens_per_run": 1.8, "source": "shadow"},
        {"answers": 1, "tokens_per_run": 2.5, "source": "live"},
    ]
    assert nothing["cells"][2] == {"answers": 1, "tokens_per_run": 1.0, "source": "live"}
    assert (sql["regret"], nothing["regret"]) == (8.0, None)


@pytest.mark.parametrize("name", RANGES)
def test_a_server_that_has_done_nothing_has_a_document(name: str) -> None:
    """Before the worker has said a word."""
    document = live_document(Stage().watch, name, {}, {}, {})
    assert document["range"]["seconds"] == RANGES[name]
    assert document["topics"] == document["matrix"]["rows"] == document["changes"] == []
    assert document["figures"]["first_token"] == {"p50": None, "p99": None}
    assert document["audit"] is None


def test_the_audit_is_told_where_there_is_one() -> None:
    """With how many answers it has compared."""
    stage = Stage()
    audit = AuditState(answers=7, tokens=300, mismatches=1, largest_gap=2e-6)
    stage.watch.told(StepMessage(Status(1, Load(), "off", audit=audit)))
    told = live_document(stage.watch, "1h", {}, {}, {})["audit"]
    assert (told["answers"], told["mismatches"], told["largest_gap"]) == (7, 1, 2e-6)


def test_drafts_that_were_not_chosen_are_read_from_the_table(tmp_path: Path) -> None:
    """By topic, at the length that the state file names. A few answers say nothing; a damaged table changes nothing."""
    count = 12
    tokens = np.full(count, 100)
    runs = np.stack([np.full((count, 2), 100.0), np.full((count, 2), [50.0, 25.0])], axis=2)
    runs[-6:, 1] = np.nan  # the second draft was not scored on medical
    groups = ("sql",) * 6 + ("medical",) * 5 + ("chat",)
    texts = tuple(map(str, range(count)))
    CostTable(texts, groups, ("general", "sql"), ("general@v1", "sql@v3"), tokens, runs).save(tmp_path)
    (tmp_path / "shadow.json").write_text(json.dumps({"length": 1, "topics": {}}))
    table = ShadowTable(tmp_path)
    table.refresh()
    assert table.tokens_per_run == {("sql", "general"): 2.0, ("sql", "sql"): 4.0, ("medical", "general"): 2.0}
    (tmp_path / HEADER).write_text("{")
    table.refresh()
    assert len(table.tokens_per_run) == 3


def test_without_a_table_there_is_nothing(tmp_path: Path) -> None:
    """Nobody learns here."""
    table = ShadowTable(tmp_path / "none")
    table.refresh()
    assert table.tokens_per_run == {}
