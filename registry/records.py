"""What MLflow keeps of a run, read back."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunRecord:
    """What a run has kept: its name and status, parameters, last figures, tags, and data by name and context."""

    name: str
    status: str
    params: dict[str, str]
    figures: dict[str, float]
    tags: dict[str, str]
    data: dict[str, str]


def run_record(client: Any, run_id: str) -> RunRecord | None:
    """Read a run; None if it was deleted. ``data`` is ``NAME (CONTEXT)`` -> digest."""
    from mlflow.exceptions import MlflowException

    try:
        seen = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if seen.info.lifecycle_stage != "active":
        return None
    tags = {key: value for key, value in seen.data.tags.items() if not key.startswith(("mlflow.", "polydraft."))}
    return RunRecord(
        seen.info.run_name or "",
        seen.info.status,
        dict(seen.data.params),
        dict(seen.data.metrics),
        tags,
        dict(_dataset(used) for used in seen.inputs.dataset_inputs),
    )


def _dataset(used: Any) -> tuple[str, str]:
    contexts = [tag.value for tag in used.tags if tag.key == "mlflow.data.context"]
    return f"{used.dataset.name} ({', '.join(contexts)})", str(used.dataset.digest)
