from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry import leftovers
from registry.names import CHALLENGER, CHAMPION
from registry.removal import Rule, candidates, removable, remove, rows_of
from registry.store import Registry
from registry.version import ModelSummary, Version
from tests.registry.conftest import MakeFolder

SQL = "starter-draft-sql"
NOW = datetime(2026, 3, 31, tzinfo=UTC)


def _summary(aliases: dict[str, int], previous: dict[int, int], youngest_hours: float = 24) -> ModelSummary:
    """Ten versions, a day apart, the newest ``youngest_hours`` old."""
    versions = tuple(
        Version(
            SQL,
            number,
            tuple(alias for alias, at in aliases.items() if at == number),
            Path("/nowhere"),
            {"topic": "sql", **({"previous_champion": str(previous[number])} if number in previous else {})},
            None,
            NOW - timedelta(hours=youngest_hours) - timedelta(days=10 - number),
        )
        for number in range(10, 0, -1)
    )
    return ModelSummary(SQL, aliases, versions, {})


def _goes(model: ModelSummary, rule: Rule) -> list[int]:
    return [version.version for version in removable(model, rule, NOW)]


def test_the_newest_the_served_and_the_way_back_stay() -> None:
    """Champion 6 replaced 4, which replaced 2; 3 is challenger; the two newest stay by the rule."""
    model = _summary({CHAMPION: 6, CHALLENGER: 3, "canary": 5}, {6: 4, 4: 2, 9: 8})
    assert _goes(model, Rule(keep=2)) == [8, 7, 1]
    assert _goes(model, Rule(keep=2, pinned=frozenset({(SQL, 7), ("other", 1)}))) == [8, 1]


def test_age_is_counted_in_days() -> None:
    """Version n is 11 - n days old."""
    assert _goes(_summary({}, {}), Rule(keep=0, days=5)) == [6, 5, 4, 3, 2, 1]
    assert _goes(_summary({}, {}), Rule(keep=7, days=5)) == [3, 2, 1]


@pytest.mark.parametrize(("hours", "newest"), [(0.9, 9), (1.1, 10)])
def test_what_is_younger_than_an_hour_stays_whatever_the_rule(hours: float, newest: int) -> None:
    """A job may be about to promote it."""
    assert _goes(_summary({}, {}, hours), Rule(keep=0, days=0))[0] == newest


def _age(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is an hour old: wait for none."""
    monkeypatch.setattr("registry.removal.YOUNGEST", timedelta(0))


def test_removed_versions_are_out_of_sight_and_their_files_freed(
    registry: Registry, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays is untouched; numbers are not given twice; the runs and their curves stay."""
    _age(registry, monkeypatch)
    for number in range(4):
        registry.register(
            SQL, make_folder(f"{number}" * 100), {"topic": "sql"}, alias=CHAMPION if number == 1 else None
        )
    registry.register("starter-router", make_folder(), {})
    models = registry.list_models("starter-")
    rule = Rule(keep=1)
    found = candidates(models, rule)
    assert [row["label"] for row in rows_of(found)] == ["sql@v3", "sql@v1"]
    assert rows_of(found)[0]["bytes"] == 102
    gone = remove(registry, [model.model for model in models], rule)
    assert [version.version for version in gone] == [3, 1]
    assert not any(version.folder.exists() or version.folder.parent.exists() for version in gone)
    (router, sql) = sorted(registry.list_models("starter-"), key=lambda model: model.name)
    assert ([version.version for version in sql.versions], len(router.versions)) == ([4, 2], 1)
    assert registry.resolve(f"registry://{SQL}@{CHAMPION}").version == 2
    assert registry.run_of(gone[0]) is not None
    assert registry.register(SQL, make_folder(), {}).version == 5
    assert remove(registry, [SQL], Rule(keep=3)) == []


def test_an_alias_that_moves_after_the_look_saves_its_version(
    registry: Registry, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may go is decided again at the moment of removal."""
    _age(registry, monkeypatch)
    for _ in range(2):
        registry.register(SQL, make_folder(), {"topic": "sql"})
    rule = Rule(keep=0)
    assert [version.version for version in candidates(registry.list_models(SQL), rule)] == [2, 1]
    registry.set_alias(SQL, CHAMPION, 1, None)
    assert [version.version for version in remove(registry, [SQL], rule)] == [2]


def test_files_of_a_removal_that_was_killed_are_freed_by_the_next(registry: Registry, make_folder: MakeFolder) -> None:
    """The version is gone, its files are not; those of a running job are never touched."""
    kept = registry.register(SQL, make_folder("1"), {})
    gone = registry.register(SQL, make_folder("2"), {})
    registry.client.delete_model_version(SQL, "2")
    with registry.start_run("starter-distill", "sql") as run:
        run.keep_model(SQL, make_folder("3"), {"content": "x"})
        assert leftovers.collect_files(registry.client, registry.location) == 1
    assert kept.folder.exists()
    assert not gone.folder.exists()
    assert leftovers.collect_files(registry.client, registry.location) == 1
    assert leftovers.collect_files(registry.client, registry.location) == 0
