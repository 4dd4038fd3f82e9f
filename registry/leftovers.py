"""What an import that was killed left behind: runs that nobody will end, files that nobody registered."""

from typing import Any

from registry.connection import answering
from registry.store import Registry

JOB = "starter import"  # tag `job` of the runs to look after


def clear(registry: Registry, experiments: list[str]) -> None:
    """End or delete the unfinished import runs of ``experiments``; the caller holds the import's lock.

    A run whose version was registered is ended as finished; any other is deleted with its model files'
    entry. Behind a server nothing is touched: another machine may be importing right now.
    """
    if registry.location.is_server:
        return
    client = registry.client
    with answering(registry.location):
        for name in sorted(set(experiments)):
            experiment = client.get_experiment_by_name(name)
            if experiment is not None:
                _clear(client, experiment.experiment_id)


def _clear(client: Any, experiment: str) -> None:
    unfinished = client.search_runs([experiment], f"attributes.status = 'RUNNING' and tags.job = '{JOB}'")
    for run in unfinished:
        run_id = run.info.run_id
        if client.search_model_versions(f"run_id = '{run_id}'"):
            client.set_terminated(run_id, "FINISHED")
            continue
        for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
            client.delete_logged_model(model.model_id)
        client.set_terminated(run_id, "KILLED")
        client.delete_run(run_id)
