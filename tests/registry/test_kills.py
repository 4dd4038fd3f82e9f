"""Bar of the registry: killed at any moment, it is whole, and the next registration tidies up."""

import os
import signal
from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry import leftovers
from registry.names import CHAMPION
from registry.ownership import lock_of
from registry.section import RegistrySection
from registry.store import Registry
from tests.registry import kills
from tests.registry.kills import SQL, in_child, inspect, inspect_tidied, kill_often, write_checkpoint

TRIES = 4  # by hand: python -m tests.registry.kills --tries 20


@pytest.fixture
def folder(home: Path, tmp_path: Path) -> Path:
    """A checkpoint, of which two versions are registered by other processes."""
    folder = write_checkpoint(tmp_path / "checkpoint", 0)
    for _ in range(2):
        assert in_child(kills.register_alone, folder) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("job", kills.JOBS)
def test_whatever_is_killed_the_registry_stays_whole(folder: Path, job: str) -> None:
    """No half version under any alias or number; list works; the next registration succeeds and tidies up."""
    killed, _ = kill_often(kills.JOBS[job], folder, TRIES, seed=2)
    assert killed == TRIES


def test_the_inspection_sees_a_version_that_is_not_whole(folder: Path) -> None:
    """Negative control: one file less, and one file longer."""
    version = Registry.open(RegistrySection()).resolve(f"registry://{SQL}@{CHAMPION}")
    weights = version.folder / "model-0.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert in_child(inspect, folder) != 0
    weights.write_bytes(whole)
    assert in_child(inspect, folder) == 0
    weights.unlink()
    assert in_child(inspect, folder) != 0


def _abandon(folder: Path) -> None:
    run = Registry.open(RegistrySection()).start_run("starter-distill", "sql distilled", {"topic": "sql"})
    run.log({"loss/train": 0.5}, step=1)
    run.keep_model(SQL, folder, {"content": "x"})
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_job_keeps_its_run_and_goes_on_with_it(folder: Path) -> None:
    """Its curves stay, its files go; resumed, it writes into the same run. (And the inspection sees leftovers.)"""
    assert in_child(inspect_tidied, folder) == 0
    assert in_child(_abandon, folder) == -signal.SIGKILL
    assert in_child(inspect, folder) == 0
    assert in_child(inspect_tidied, folder) != 0
    registry = Registry.open(RegistrySection())
    assert leftovers.collect(registry.client, registry.location) == 1
    assert leftovers.collect(registry.client, registry.location) == 0
    experiment = registry.client.get_experiment_by_name("starter-distill").experiment_id
    (seen,) = registry.client.search_runs([experiment], "attributes.status = 'KILLED'")
    with registry.resume_run(seen.info.run_id) as run:
        assert leftovers.collect(registry.client, registry.location) == 0
        with pytest.raises(RegistryError, match="another process"):
            registry.resume_run(run.run_id)
        run.log({"loss/train": 0.25}, step=2)
    points = registry.client.get_metric_history(run.run_id, "loss/train")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (2, 0.25)]
    assert registry.client.get_run(run.run_id).info.status == "FINISHED"
    assert in_child(inspect_tidied, folder) == 0


def test_a_job_that_goes_on_before_anybody_tidied_up_leaves_no_files(folder: Path) -> None:
    """What it had stored when it was killed and not registered is gone; what it registers now is there, once."""
    assert in_child(_abandon, folder) == -signal.SIGKILL
    registry = Registry.open(RegistrySection())
    experiment = registry.client.get_experiment_by_name("starter-distill").experiment_id
    (seen,) = registry.client.search_runs([experiment], "attributes.status = 'RUNNING'")
    with registry.resume_run(seen.info.run_id) as run:
        registry.register(SQL, folder, {"topic": "sql"}, run=run)
    assert in_child(inspect_tidied, folder) == 0


def test_runs_of_other_machines_are_left_alone(registry: Registry) -> None:
    """A running run without a lock file here is not ours to end."""
    run = registry.start_run("starter-distill", "elsewhere")
    run.owner.release()
    stale = lock_of(registry.location, "of a process that died before it made its run")
    stale.touch()
    assert leftovers.collect(registry.client, registry.location) == 0
    assert not stale.exists()
    assert registry.client.get_run(run.run_id).info.status == "RUNNING"
