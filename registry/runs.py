"""One MLflow run: metrics, pictures and notes of whatever made a version."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from configs.errors import RegistryError
from registry.connection import answering
from registry.location import Location

NOTE = "mlflow.note.content"  # MLflow shows this tag as the description of a run


class Run:
    """An MLflow run being written; as a context manager it ends as finished, failed or killed."""

    def __init__(self, client: Any, location: Location, experiment: str, run_id: str):
        self.client = client
        self.location = location
        self.experiment = experiment
        self.run_id = run_id

    @classmethod
    def start(
        cls, client: Any, location: Location, experiment: str, name: str, tags: dict[str, str], description: str
    ) -> Self:
        """Make the run in the experiment with id ``experiment``; prefer `Registry.start_run`."""
        facts = {**tags, NOTE: description} if description else tags
        run = client.create_run(experiment, tags=facts, run_name=name)
        return cls(client, location, experiment, run.info.run_id)

    def log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log figures in one request. Final ones at step 0, which MLflow shows as bars; curves from 1."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with answering(self.location):
            self.client.log_batch(
                self.run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()]
            )

    def set_params(self, params: Mapping[str, object]) -> None:
        """Record what the run was started with; a parameter cannot change later."""
        from mlflow.entities import Param

        with answering(self.location):
            self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags, such as ``verdict``."""
        from mlflow.entities import RunTag

        with answering(self.location):
            self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def rename(self, name: str) -> None:
        """Give the run the name that it has once its outcome is known."""
        with answering(self.location):
            self.client.update_run(self.run_id, name=name)

    def describe(self, text: str) -> None:
        """Set the description (Markdown): outcome, table, command to repeat, command to undo."""
        self.set_tags({NOTE: text})

    def add_file(self, file: Path, folder: str = "") -> None:
        """Keep a file, such as ``pictures/alpha_over_time.png``, with the run."""
        with answering(self.location):
            self.client.log_artifact(self.run_id, str(file), folder or None)

    def keep_model(self, name: str, folder: Path, tags: Mapping[str, str]) -> str:
        """Store the files of a model as an output of the run; returns its id."""
        from mlflow.entities import LoggedModelOutput

        with answering(self.location):
            model = self.client.create_logged_model(
                self.experiment, name=name, source_run_id=self.run_id, tags=dict(tags)
            )
            self.client.log_model_artifacts(model.model_id, str(folder))
            self.client.finalize_logged_model(model.model_id, "READY")
            self.client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        with answering(self.location):
            self.client.set_terminated(self.run_id, status)


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
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another process made it meanwhile
    if experiment.lifecycle_stage == "deleted":
        raise RegistryError(
            f"experiment {name} was deleted", f"mlflow experiments restore -x {experiment.experiment_id}"
        )
    return str(experiment.experiment_id)
