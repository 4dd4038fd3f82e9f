import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RegistryError
from registry.names import CHALLENGER, CHAMPION
from registry.runs import Run
from registry.section import RegistrySection
from registry.starter import MARK, import_starter
from registry.store import Registry
from tests.registry.conftest import MakeFolder

MODELS = ["starter-draft-general", "starter-draft-sql", "starter-router"]


def _state(registry: Registry) -> dict[str, tuple[int, int | None]]:
    """Model -> number of versions, champion."""
    return {model.model: (len(model.versions), model.aliases.get(CHAMPION)) for model in registry.list_models()}


def test_the_first_use_registers_every_part_as_champion(registry: Registry, make_starter: MakeFolder) -> None:
    """Drafts and router are there, with the shipped figures and the shipped files."""
    folder = make_starter()
    assert import_starter(registry, folder)
    assert _state(registry) == dict.fromkeys(MODELS, (1, 1))
    version = registry.resolve("registry://starter-draft-sql@champion")
    assert (version.label, version.figure("alpha"), version.tags["target"]) == ("sql@v1", 0.88, "aaaa")
    assert (version.folder / "model.safetensors").read_text() == "sql1"
    assert registry.client.get_run(version.run_id).data.metrics["acceptance/position/2"] == 0.77


def test_the_second_use_does_nothing(registry: Registry, make_starter: MakeFolder) -> None:
    """The same starter is never imported twice, whatever serves by now."""
    folder = make_starter()
    import_starter(registry, folder)
    registry.register(MODELS[1], folder / "drafts" / "sql", {}, alias=CHAMPION)
    assert not import_starter(registry, folder)
    assert _state(registry)[MODELS[1]] == (2, 2)


def test_a_newer_starter_takes_over(registry: Registry, make_starter: MakeFolder) -> None:
    """Parts that changed get a new champion; parts that did not keep their version."""
    import_starter(registry, make_starter("1"))
    assert import_starter(registry, make_starter("2"))
    assert _state(registry) == {MODELS[0]: (2, 2), MODELS[1]: (2, 2), MODELS[2]: (1, 1)}
    assert registry.rollback(MODELS[1]).version == 1


def test_what_was_learned_here_for_this_target_stays(registry: Registry, make_starter: MakeFolder) -> None:
    """A newer starter does not undo a promoted version: it becomes the challenger."""
    folder = make_starter("1")
    import_starter(registry, folder)
    registry.register(MODELS[1], folder / "drafts" / "sql", {"target": "aaaa"}, alias=CHAMPION)
    import_starter(registry, make_starter("2"))
    summary = next(model for model in registry.list_models() if model.model == MODELS[1])
    assert summary.aliases == {CHAMPION: 2, CHALLENGER: 3}


def test_what_was_learned_for_another_target_goes(registry: Registry, make_starter: MakeFolder) -> None:
    """A newer starter with a new target replaces drafts that could no longer serve."""
    folder = make_starter("1")
    import_starter(registry, folder)
    registry.register(MODELS[1], folder / "drafts" / "sql", {"target": "aaaa"}, alias=CHAMPION)
    import_starter(registry, make_starter("2", target="bbbb"))
    assert _state(registry)[MODELS[1]] == (3, 3)


def test_new_tags_of_the_same_files_are_taken_over(registry: Registry, make_starter: MakeFolder) -> None:
    """Figures that were measured again need no new version."""
    import_starter(registry, make_starter())
    folder = make_starter()
    file = folder / "starter.json"
    file.write_text(file.read_text().replace("0.88", "0.91"))
    assert import_starter(registry, folder)
    assert _state(registry) == dict.fromkeys(MODELS, (1, 1))
    assert registry.resolve("registry://starter-draft-sql@champion").figure("alpha") == 0.91


def test_two_deployments_do_not_share_models(registry: Registry, make_starter: MakeFolder) -> None:
    """The name of the deployment is the prefix."""
    folder = make_starter()
    import_starter(registry, folder, "starter")
    assert import_starter(registry, folder, "mine")
    assert [model.model for model in registry.list_models("mine-")] == [
        name.replace("starter", "mine") for name in MODELS
    ]


@pytest.mark.parametrize("text", [None, "{", '{"format": 2}'])
def test_a_folder_that_is_no_starter_is_told(registry: Registry, tmp_path: Path, text: str | None) -> None:
    """Missing, damaged and future manifests are errors that name the file."""
    if text is not None:
        (tmp_path / "starter.json").write_text(text)
    with pytest.raises(RegistryError, match=r"starter\.json"):
        import_starter(registry, tmp_path)


def _import(folder: Path) -> None:
    import_starter(Registry.open(RegistrySection()), folder)


def test_two_processes_may_import_at_once(empty_home: Path, make_starter: MakeFolder) -> None:
    """From nothing at all: one makes the registry and imports, the other waits and finds it done."""
    folder = make_starter()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_import, args=(folder,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert _state(Registry.open(RegistrySection())) == dict.fromkeys(MODELS, (1, 1))


def _import_until(folder: Path, owner: type, method: str, call: int) -> None:
    """Import, and die by SIGKILL right after the ``call``-th call of a method."""
    original, calls = getattr(owner, method), iter(range(1, 100))

    def counting(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, counting)
    _import(folder)


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (Run, "log", 1),  # a run without files
        (Run, "keep_model", 2),  # files without a version
        (Registry, "get", 2),  # a version whose run has not ended
        (Registry, "register", 2),  # a version without its alias
        (Registry, "set_alias", 3),  # an alias, but not marked as imported
    ],
)
def test_a_killed_import_is_completed_by_the_next(
    home: Path, make_starter: MakeFolder, owner: type, method: str, call: int
) -> None:
    """Wherever the kill comes, the next call ends with one version each, and no run left running."""
    folder = make_starter()
    child = multiprocessing.get_context("fork").Process(target=_import_until, args=(folder, owner, method, call))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    registry = Registry.open(RegistrySection())
    assert import_starter(registry, folder)
    assert _state(registry) == dict.fromkeys(MODELS, (1, 1))
    assert not import_starter(registry, folder)
    for model in registry.list_models():
        assert MARK in model.tags
    experiments = [experiment.experiment_id for experiment in registry.client.search_experiments()]
    runs = registry.client.search_runs(experiments)
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 3
    assert len(registry.client.search_logged_models(experiments)) == 3
