import json
from datetime import UTC, datetime
from pathlib import Path

from registry.records import RunRecord
from registry.report import day, list_rows, show_document, show_lines
from registry.version import ModelSummary, Version


def _version(number: int, aliases: tuple[str, ...] = (), **tags: str) -> Version:
    created = datetime(2026, 3, number, tzinfo=UTC)
    return Version("starter-draft-sql", number, aliases, Path(f"/v{number}"), tags, f"run{number}", created)


def _summary() -> ModelSummary:
    newer = _version(2, ("challenger",), topic="sql")
    older = _version(
        1, ("champion",), topic="sql", alpha="0.9", acceptance_by_position="0.9 0.8", parent_version="7", job="online"
    )
    return ModelSummary("starter-draft-sql", {"champion": 1, "challenger": 2}, (newer, older), {})


def test_a_row_shows_the_champion_and_its_figures() -> None:
    """Figures are numbers, missing ones are None, and all of it is JSON."""
    (row,) = list_rows([_summary()])
    assert (row["draft"], row["champion"], row["challenger"], row["versions"]) == ("sql", "v1", "v2", 2)
    assert (row["alpha"], row["tokens_per_target_run"], row["acceptance_by_position"]) == (0.9, None, [0.9, 0.8])
    assert (row["from"], row["made_by"], row["since"]) == ("v7", "online", "2026-03-01T00:00:00+00:00")
    json.dumps(row)


def test_a_model_without_champion_has_a_row_too() -> None:
    """A model whose alias was removed is listed, not hidden."""
    summary = ModelSummary("starter-draft-sql", {}, (_version(1),), {})
    (row,) = list_rows([summary])
    assert (row["champion"], row["alpha"], row["since"]) == (None, None, None)


def test_the_document_of_a_version_tells_all() -> None:
    """Reference, lineage, tags and the other versions are in it."""
    summary = _summary()
    document = show_document(summary, summary.versions[1])
    assert (document["label"], document["reference"]) == ("sql@v1", "registry://starter-draft-sql@v1")
    assert (document["run"], document["parent"], document["aliases"]) == ("run1", "v7", ["champion"])
    assert [line["version"] for line in document["versions"]] == ["v2", "v1"]
    json.dumps(document)


def test_a_champion_is_since_its_promotion_not_its_registration() -> None:
    """The tag of the promotion wins; a promoted challenger is no challenger; broken-off models are left out."""
    version = _version(1, ("champion", "challenger"), champion_since="2026-03-09T10:00:00+00:00")
    models = [
        ModelSummary("starter-draft-sql", {"champion": 1, "challenger": 1}, (version,), {}),
        ModelSummary("starter-draft-math", {}, (), {}),
    ]
    (row,) = list_rows(models)
    assert (row["since"], row["challenger"]) == ("2026-03-09T10:00:00+00:00", None)


def test_days_are_written_as_people_say_them() -> None:
    """The year only where it is another one."""
    now = datetime(2026, 3, 14, 12, tzinfo=UTC)
    assert day(datetime(2026, 3, 14, 1, tzinfo=UTC), now) == "today"
    assert day(datetime(2026, 3, 9, tzinfo=UTC), now) == "9 Mar"
    assert day(datetime(2025, 3, 14, tzinfo=UTC), now) == "14 Mar 2025"


def test_people_see_the_facts_that_there_are_and_the_other_versions() -> None:
    """Empty facts are left out; data are shown with their digests."""
    summary = _summary()
    run = RunRecord("sql v1 online", "FINISHED", {}, {}, {}, {"traces-sql (train)": "9c1f" * 9})
    header, lines = show_lines(show_document(summary, summary.versions[1], run))
    facts = dict(lines)
    assert header[0] == "sql@v1"
    assert (facts["run"], facts["data"], facts["from"]) == ("sql v1 online", "traces-sql (train) 9c1f9c1f", "v7")
    assert "tokens/run" not in facts
    assert facts["v2"] == "challenger"
