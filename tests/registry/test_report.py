import json
from datetime import UTC, datetime
from pathlib import Path

from registry.report import list_rows, show_document
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
