"""MLflow's experiments, one for each kind of job of a deployment: ``starter-distill``, ``starter-bench``."""

from typing import Any, Literal, get_args

from configs.errors import RegistryError

Kind = Literal["distill", "router", "bench", "experiment", "serve"]

_NOTES = {
    "distill": "Distillation jobs: each run trains a draft for one topic and registers a version if it finishes.",
    "router": "Trainings of the router that chooses a draft for a query.",
    "bench": "Measurements of the deployment; their tables are in docs/results.",
    "experiment": "Runs of `polydraft experiment`; their tables are in docs/results.",
    "serve": "Traces of a sampled share of the answers that were served (`serving.mlflow_trace_share`).",
}
_KINDS = {"serve": "genai_development"}  # MLflow's pages show such a one's traces first
assert set(_NOTES) == set(get_args(Kind))


def experiment_name(prefix: str, kind: Kind) -> str:
    """``starter-distill``: ``prefix`` is the name of the deployment."""
    return f"{prefix}-{kind}"


def experiment_id(client: Any, name: str, artifact_root: str | None) -> str:
    """The id of the experiment ``name``, made if missing, its files under ``artifact_root``.

    Raises:
        RegistryError: it was deleted and not purged, so MLflow lets nobody use its name.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        place = None if artifact_root is None else f"{artifact_root}/{name}"
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=_tags(name)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another process made it meanwhile
    if experiment.lifecycle_stage == "deleted":
        raise RegistryError(
            f"experiment {name} was deleted", f"mlflow experiments restore -x {experiment.experiment_id}"
        )
    return str(experiment.experiment_id)


def _tags(name: str) -> dict[str, str]:
    # Without the kind, MLflow's pages ask for it, or show the columns of chats instead of curves.
    kind = name.rpartition("-")[2]
    tags = {"mlflow.experimentKind": _KINDS.get(kind, "custom_model_development")}
    note = _NOTES.get(kind)
    return tags if note is None else {**tags, "mlflow.note.content": note}
