import multiprocessing
from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry.names import Reference
from registry.section import RegistrySection
from registry.store import Registry
from tests.registry.conftest import MakeFolder

SQL = "starter-draft-sql"


def _register(registry: Registry, folder: Path, alias: str | None = None, **more: int) -> int:
    return registry.register(
        SQL,
        folder,
        {"topic": "sql"},
        {"acceptance/alpha": 0.9},
        alias,
        run_name="sql",
        experiment="starter-distill",
        **more,
    ).version


def test_a_registered_folder_comes_back_as_it_was(registry: Registry, make_folder: MakeFolder) -> None:
    """Files, tags, alias, label and description survive the way through the registry."""
    folder = make_folder("some weights")
    registry.register(
        SQL,
        folder,
        {"topic": "sql", "alpha": "0.9"},
        alias="champion",
        experiment="x",
        description="as made",
        parent_version=7,
    )
    version = registry.resolve(f"registry://{SQL}@champion")
    assert {file.name: file.read_text() for file in version.folder.iterdir()} == {
        file.name: file.read_text() for file in folder.iterdir()
    }
    assert (version.label, version.aliases, version.description) == ("sql@v1", ("champion",), "as made")
    assert version.figure("alpha") == 0.9
    assert version.tags["parent_version"] == "7"
    assert len(version.tags["content"]) == 64


def test_every_version_has_lineage_to_its_run(registry: Registry, make_folder: MakeFolder) -> None:
    """The run holds the metrics, has ended, and lists the model as its output."""
    _register(registry, make_folder())
    version = registry.resolve(f"registry://{SQL}@v1")
    run = registry.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"acceptance/alpha": 0.9}
    assert [output.model_id for output in run.outputs.model_outputs] == [version.folder.parent.name]


def test_a_job_may_bring_its_own_run(registry: Registry, make_folder: MakeFolder) -> None:
    """A version that is registered inside a run belongs to that run."""
    with registry.start_run("starter-distill", "sql online from v8", {"job": "online"}) as run:
        version = registry.register(SQL, make_folder(), {}, run=run)
    assert version.run_id == run.run_id
    assert registry.client.get_run(run.run_id).data.tags["job"] == "online"


def test_files_stay_under_the_data_directory(registry: Registry, home: Path, make_folder: MakeFolder) -> None:
    """Nothing is written into the working directory."""
    _register(registry, make_folder())
    assert registry.resolve(f"registry://{SQL}@v1").folder.is_relative_to(home / "registry" / "artifacts")
    assert not Path("mlruns").exists()
    assert not Path("mlflow.db").exists()


def test_reopening_finds_what_was_registered(registry: Registry, make_folder: MakeFolder) -> None:
    """A second opening of the same place sees the same versions."""
    _register(registry, make_folder(), alias="champion")
    again = Registry.open(RegistrySection())
    assert again.resolve(f"registry://{SQL}@champion") == registry.resolve(f"registry://{SQL}@v1")


def test_two_registries_in_one_process_do_not_mix(registry: Registry, make_folder: MakeFolder, tmp_path: Path) -> None:
    """Opening another registry leaves the first as usable as before."""
    other = Registry.open(RegistrySection(uri=f"sqlite:///{tmp_path / 'other.db'}"))
    _register(registry, make_folder())
    assert other.list_models() == []
    assert _register(other, make_folder()) == 1
    assert other.resolve(f"registry://{SQL}@v1").folder.is_relative_to(tmp_path / "artifacts")


@pytest.mark.parametrize(
    ("reference", "what", "do"),
    [
        ("registry://starter-draft-sq@champion", "no model starter-draft-sq", "use starter-draft-sql"),
        (f"registry://{SQL}@champ", "no alias champ", "use champion (v1)"),
        (f"registry://{SQL}@v9", "no version v9", "use v2"),
    ],
)
def test_what_is_missing_is_named_with_the_nearest_known(
    registry: Registry, make_folder: MakeFolder, reference: str, what: str, do: str
) -> None:
    """Model, alias or version: one line says which is missing and what there is."""
    _register(registry, make_folder(), alias="champion")
    _register(registry, make_folder())
    with pytest.raises(RegistryError, match=what) as caught:
        registry.resolve(reference)
    assert caught.value.do == do


def test_an_empty_registry_says_so(registry: Registry) -> None:
    """Nothing to suggest is said, too."""
    with pytest.raises(RegistryError) as caught:
        registry.resolve("registry://a@champion")
    assert "empty" in caught.value.do


def test_lost_files_are_told_with_their_place(registry: Registry, make_folder: MakeFolder) -> None:
    """A version whose files were removed behind MLflow's back is an error, not an empty model."""
    folder = registry.register(SQL, make_folder(), {}, alias="champion").folder
    folder.rename(folder.with_name("moved"))
    with pytest.raises(RegistryError, match="gone"):
        Registry.open(RegistrySection()).resolve(f"registry://{SQL}@champion")


def test_listing_shows_models_by_prefix_with_their_versions(registry: Registry, make_folder: MakeFolder) -> None:
    """Versions come newest first; champion and challenger are found behind their aliases."""
    for alias in ("champion", None, "challenger"):
        _register(registry, make_folder(), alias)
    registry.register("other-router", make_folder(), {})
    (summary,) = registry.list_models("starter-")
    assert [version.version for version in summary.versions] == [3, 2, 1]
    assert summary.champion is not None
    assert summary.challenger is not None
    assert (summary.name, summary.champion.label, summary.challenger.label) == ("sql", "sql@v1", "sql@v3")
    assert summary.champion == registry.resolve(f"registry://{SQL}@champion")
    assert [model.name for model in registry.list_models()] == ["router", "sql"]


def test_an_alias_moves_only_from_where_it_was_seen(registry: Registry, make_folder: MakeFolder) -> None:
    """A mover who looked before somebody else moved is refused, and the alias stays."""
    for alias in ("champion", None, None):
        _register(registry, make_folder(), alias)
    assert registry.set_alias(SQL, "champion", 2, expected_current=1).aliases == ("champion",)
    with pytest.raises(RegistryError, match="points to v2 now, not to v1"):
        registry.set_alias(SQL, "champion", 3, expected_current=1)
    with pytest.raises(RegistryError, match="points to nothing now, not to v1"):
        registry.set_alias(SQL, "challenger", 3, expected_current=1)
    with pytest.raises(RegistryError, match="no version v9"):
        registry.set_alias(SQL, "champion", 9, expected_current=2)
    assert registry.resolve(f"registry://{SQL}@champion").version == 2


def test_rollback_goes_back_step_by_step(registry: Registry, make_folder: MakeFolder) -> None:
    """Each champion remembers the one before it; the first has nothing to go back to."""
    for _ in range(3):
        _register(registry, make_folder(), "champion")
    assert [registry.rollback(SQL).version for _ in range(2)] == [2, 1]
    with pytest.raises(RegistryError, match="sql@v1 is the first champion"):
        registry.rollback(SQL)


def test_tags_of_a_version_can_be_added(registry: Registry, make_folder: MakeFolder) -> None:
    """A verdict is added after registration."""
    version = registry.register(SQL, make_folder(), {"topic": "sql"})
    registry.set_tags(version, {"verdict": "promoted"})
    assert registry.get(Reference(SQL, None, 1)).tags["verdict"] == "promoted"


def _promote(version: int, results: "multiprocessing.Queue[int]") -> None:
    try:
        Registry.open(RegistrySection()).set_alias(SQL, "champion", version, expected_current=1)
    except RegistryError:
        return
    results.put(version)


def test_of_several_movers_at_once_one_wins(home: Path, make_folder: MakeFolder) -> None:
    """Processes that promote from the same starting point: one succeeds, the others are told."""
    context = multiprocessing.get_context("fork")
    seed = context.Process(target=_seed, args=(make_folder(),))
    seed.start()
    seed.join(60)
    results = context.Queue()
    movers = [context.Process(target=_promote, args=(number, results)) for number in (2, 3, 4)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join(60)
    winner = results.get(timeout=5)
    assert results.empty()
    assert Registry.open(RegistrySection()).resolve(f"registry://{SQL}@champion").version == winner


def _seed(folder: Path) -> None:
    registry = Registry.open(RegistrySection())
    for alias in ("champion", None, None, None):
        _register(registry, folder, alias)
