from datetime import UTC, datetime
from pathlib import Path

from registry.version import ModelSummary, Version


def _version(model: str, number: int = 3, **tags: str) -> Version:
    return Version(model, number, (), Path("/x"), tags, None, datetime(2026, 3, 1, tzinfo=UTC))


def test_the_label_is_topic_and_number() -> None:
    """The tag says the topic; without it the model's name does."""
    assert _version("whatever", topic="sql").label == "sql@v3"
    assert _version("starter-draft-math").label == "math@v3"
    assert _version("starter-router").label == "router@v3"


def test_figures_are_numbers_or_nothing() -> None:
    """A tag that is missing or not a number is None."""
    version = _version("a", alpha="0.9", note="good")
    assert (version.figure("alpha"), version.figure("note"), version.figure("beta")) == (0.9, None, None)


def test_an_alias_leads_to_its_version() -> None:
    """An alias that points nowhere known is None."""
    versions = (_version("a-router", 2), _version("a-router", 1))
    summary = ModelSummary("a-router", {"champion": 1, "challenger": 9}, versions, {})
    assert summary.champion is versions[1]
    assert summary.challenger is None
    assert summary.name == "router"
