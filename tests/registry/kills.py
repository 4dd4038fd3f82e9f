"""Kill registrations and promotions at random moments and look at what is left.

Run by hand for more tries than the test makes::

    python -m tests.registry.kills --tries 20 --seed 1
"""

import argparse
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry.content import content_digest
from registry.names import CHALLENGER, CHAMPION
from registry.section import RegistrySection
from registry.store import Registry
from registry.verdicts import chain, finish_interrupted, promote

SQL = "starter-draft-sql"
FORK = multiprocessing.get_context("fork")


def write_checkpoint(folder: Path, seed: int) -> Path:
    """Something like a draft: 4 MB in four files, the content known from the seed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(f'{{"seed": {seed}}}')
    for part in range(4):
        block = hashlib.sha256(f"{seed} {part}".encode()).digest()
        (folder / f"model-{part}.safetensors").write_bytes(block * (1 << 15))
    return folder


def register(folder: Path) -> None:
    """One registration as a job makes it: a run with curves, files, version, verdict."""
    registry = Registry.open(RegistrySection())
    with registry.start_run("starter-distill", "sql distilled", {"job": "distilled"}) as run:
        run.log_params({"seed": 1})
        run.log({"loss/train": 1.0}, step=1)
        registry.register(SQL, folder, {"topic": "sql"}, {"acceptance/alpha": 0.8}, run=run)


def register_alone(folder: Path) -> None:
    """A registration that makes its own run and moves the champion."""
    registry = Registry.open(RegistrySection())
    registry.register(SQL, folder, {"topic": "sql"}, {"acceptance/alpha": 0.8}, CHAMPION, experiment="starter-distill")


def promote_newest(folder: Path) -> None:
    """Promote the newest version, or the one before it if it is champion already."""
    registry = Registry.open(RegistrySection())
    (model,) = registry.list_models(SQL)
    champion = model.aliases.get(CHAMPION)
    candidate = next(version for version in model.versions if version.version != champion)
    _promoting(folder).write_text(str(candidate.version))
    promote(registry, candidate, champion)


def _promoting(folder: Path) -> Path:
    """Which version somebody has begun to promote."""
    return folder.with_name("promoting")


def inspect(folder: Path) -> None:
    """Fail unless the registry lists, every version and alias in it is whole, and a promotion has its verdict."""
    registry = Registry.open(RegistrySection())
    finish_interrupted(registry, SQL)
    for model in registry.list_models(SQL):
        by_number = {version.version: version for version in model.versions}
        assert set(model.aliases.values()) <= by_number.keys(), "an alias points to no version"
        assert set(chain(by_number, model.aliases.get(CHAMPION))) <= by_number.keys(), "a rollback leads nowhere"
        for version in model.versions:
            found = registry.resolve(f"registry://{SQL}@v{version.version}")
            assert content_digest(found.folder) == version.tags["content"], f"{version.label} is not whole"
            assert version.run_id is not None
        if _promoting(folder).is_file() and int(_promoting(folder).read_text()) == model.aliases.get(CHAMPION):
            assert model.champion is not None
            assert model.champion.tags.get("verdict") == "promoted", "promoted, and nobody says so"
            assert CHALLENGER not in model.champion.aliases, "a champion is its own challenger"


def inspect_tidied(folder: Path) -> None:
    """Fail if, after a registration, anything of a killed one is left."""
    inspect(folder)
    registry = Registry.open(RegistrySection())
    client, location = registry.client, registry.location
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    assert not running, "a killed run still runs"
    sources = {version.source for version in client.search_model_versions()}
    models = logged_models(client, experiments)
    assert {f"models:/{model.model_id}" for model in models} == sources, "files that belong to no version"
    root = location.state / "artifacts"
    folders = {each.name for each in root.glob("*/models/*")}
    assert folders == {model.model_id for model in models}, "a folder that belongs to no version"
    assert not list((location.state / "locks" / "runs").glob("*")), "a lock that nobody holds"


def logged_models(client: Any, experiments: list[str]) -> list[Any]:
    """All of them: MLflow hands out a hundred at a time."""
    page = client.search_logged_models(experiments)
    found = [*page]
    while page.token:
        page = client.search_logged_models(experiments, page_token=page.token)
        found += page
    return found


def in_child(job: Callable[[Path], None], folder: Path, kill_after: float | None = None) -> int:
    """Run ``job`` in a process of its own, killed after some seconds; its exit code."""
    child = FORK.Process(target=job, args=(folder,))
    child.start()
    if kill_after is not None:
        child.join(kill_after)
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
    child.join(120)
    assert child.exitcode is not None
    return child.exitcode


def seconds_of(job: Callable[[Path], None], folder: Path) -> float:
    """How long ``job`` takes when nobody kills it."""
    start = time.monotonic()
    assert in_child(job, folder) == 0
    return time.monotonic() - start


def kill_often(job: Callable[[Path], None], folder: Path, tries: int, seed: int) -> tuple[int, int]:
    """Kill ``job`` at ``tries`` moments, spread at random over its duration; inspect after each.

    After each kill the registry must be whole; then a registration must succeed and leave nothing of the
    killed one behind.

    Returns:
        How often it was killed, which is ``tries``, and how often it had finished before.
    """
    moments = random.Random(seed)
    seconds = seconds_of(job, write_checkpoint(folder, 0))
    killed = finished = 0
    while killed < tries:
        write_checkpoint(folder, killed + finished)
        # One moment in each of ``tries`` equal slices: random, and none of the steps left out.
        after = seconds * (killed + moments.random()) / tries
        if in_child(job, folder, after) == -signal.SIGKILL:
            killed += 1
        else:  # a busy machine made the measured duration too long
            finished += 1
            seconds *= 0.9
        where = f"killed after {after:.3f} s, try {killed + finished}"
        assert in_child(inspect, folder) == 0, f"{where}: not whole"
        assert in_child(register, folder) == 0, f"{where}: cannot register"
        assert in_child(inspect_tidied, folder) == 0, f"{where}: leftovers"
    return killed, finished


JOBS: dict[str, Callable[[Path], None]] = {
    "registration": register,
    "registration with alias": register_alone,
    "promotion": promote_newest,
}


def main() -> None:
    """Print how many of each job were killed; fail at the first registry that is not whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--job", choices=list(JOBS), action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkpoint"
        os.environ["POLYDRAFT_HOME"] = f"{place}/elsewhere"
        register(write_checkpoint(folder, 0))  # imports everything, so that a try is not mostly imports
        os.environ["POLYDRAFT_HOME"] = f"{place}/home"
        for _ in range(2):
            assert in_child(register_alone, write_checkpoint(folder, 0)) == 0
        for name in options.job or JOBS:
            killed, finished = kill_often(JOBS[name], folder, options.tries, options.seed)
            print(f"{name}: killed {killed} times, finished before {finished}; consistent each time")  # noqa: T201


if __name__ == "__main__":
    main()
