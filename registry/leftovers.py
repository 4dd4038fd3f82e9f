"""What a job that was killed left behind: runs that nobody will end, files that nobody registered.

A registration is a run, then files, then a version, then an alias. Each step is whole or not there, so a
kill between two of them leaves nothing that a version or an alias leads to, only things to tidy up.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from registry.connection import answering
from registry.location import Location
from registry.locks import attempt, exclusive
from registry.ownership import OWNER, REGISTRATION, collecting, is_running, lock_of


def collect(client: Any, location: Location) -> int:
    """End the runs of this machine whose process died, and free files that never became a version.

    A job's run ends as killed, with its curves, so that the job can go on with it. A run that was only there
    to register is ended as finished if its version is there, else deleted.

    Returns:
        How many runs were ended.
    """
    with exclusive(collecting(location)):
        dead = _dead(location)
        if not dead:
            return 0
        with answering(location):
            runs = [run for run in _unfinished(client) if run.data.tags[OWNER] in dead]
            for run in runs:
                _end(client, location, run)
        for token in dead:
            lock_of(location, token).unlink()
    return len(runs)


def collect_files(client: Any, location: Location) -> int:
    """Free the files of versions that are deleted, and of registrations that came to nothing.

    Returns:
        How many models' files were removed.
    """
    collect(client, location)
    with exclusive(collecting(location)), answering(location):
        # In this order: a run that is not running now registers nothing after the versions are listed.
        kept = [model for model in _models(client, _experiments(client)) if not _may_register(client, model)]
        orphans = _without_version(client, kept)
        for model in orphans:
            remove_model(client, location, model)
    return len(orphans)


def remove_model(client: Any, location: Location, model: Any) -> None:
    """Remove the files of a logged model, then its entry: killed in between, it is found again."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place = urlsplit(str(model.artifact_location))
    if place.scheme in ("", "file"):
        folder = Path(unquote(place.path))
        shutil.rmtree(folder, ignore_errors=True)
        if folder.parent.name == model.model_id and not any(folder.parent.glob("*")):
            shutil.rmtree(folder.parent, ignore_errors=True)
    else:
        get_artifact_repository(model.artifact_location, location.tracking_uri).delete_artifacts()
    client.delete_logged_model(model.model_id)


def _dead(location: Location) -> set[str]:
    """The owners that no process holds any more; while `collecting` is held, none can come to life."""
    dead = set()
    for file in lock_of(location, "any").parent.glob("*.lock"):
        with attempt(file) as free:
            if free:
                dead.add(file.stem)
    return dead


def free_unregistered(client: Any, location: Location, experiment: str, run_id: str) -> None:
    """Remove the files of a run that never became a version; only its owner, or who found it dead, may."""
    models = _all(partial(client.search_logged_models, [experiment], f"source_run_id = '{run_id}'"))
    for model in _without_version(client, models):
        remove_model(client, location, model)


def _end(client: Any, location: Location, run: Any) -> None:
    run_id = run.info.run_id
    free_unregistered(client, location, run.info.experiment_id, run_id)
    registered = bool(client.search_model_versions(f"run_id = '{run_id}'"))
    only_registers = REGISTRATION in run.data.tags
    client.set_terminated(run_id, "FINISHED" if only_registers and registered else "KILLED")
    if only_registers and not registered:
        client.delete_run(run_id)


def _may_register(client: Any, model: Any) -> bool:
    from mlflow.exceptions import MlflowException

    if model.source_run_id is None or "content" not in model.tags:
        return True  # not made by `Run.keep_model`: somebody else's
    try:
        return is_running(client, model.source_run_id)
    except MlflowException:
        return False  # the run is gone for good


def _without_version(client: Any, models: list[Any]) -> list[Any]:
    if not models:
        return []
    sources = {version.source for version in _all(client.search_model_versions)}
    return [model for model in models if f"models:/{model.model_id}" not in sources]


def _unfinished(client: Any) -> list[Any]:
    experiments = _experiments(client)
    if not experiments:
        return []
    found = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000)
    return [run for run in found if OWNER in run.data.tags]


def _models(client: Any, experiments: list[str]) -> list[Any]:
    return _all(lambda **page: client.search_logged_models(experiments, **page)) if experiments else []


def _experiments(client: Any) -> list[str]:
    return [experiment.experiment_id for experiment in _all(client.search_experiments)]


def _all(search: Any) -> list[Any]:
    found = search()
    results = list(found)
    while found.token:
        found = search(page_token=found.token)
        results.extend(found)
    return results
