from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry.runs import NOTE
from registry.store import Registry


def test_a_run_keeps_what_it_was_told(registry: Registry, tmp_path: Path) -> None:
    """Curves, parameters, tags, description, files and its last name are found again."""
    picture = tmp_path / "alpha_over_time.png"
    picture.write_bytes(b"png")
    with registry.start_run("starter-distill", "sql online from v8", {"topic": "sql"}) as run:
        for step in (1, 2):
            run.log({"loss/train": 1 / step, "acceptance/alpha": 0.8}, step)
        run.set_params({"learning_rate": 1e-3})
        run.set_tags({"verdict": "promoted"})
        run.describe("Better.")
        run.rename("sql v9 online")
        run.add_file(picture, "pictures")
    seen = registry.client.get_run(run.run_id)
    assert [point.value for point in registry.client.get_metric_history(run.run_id, "loss/train")] == [1.0, 0.5]
    assert seen.data.params == {"learning_rate": "0.001"}
    assert (seen.data.tags["verdict"], seen.data.tags[NOTE], seen.info.run_name) == (
        "promoted",
        "Better.",
        "sql v9 online",
    )
    (kept,) = registry.client.list_artifacts(run.run_id, "pictures")
    assert kept.path == "pictures/alpha_over_time.png"


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_off_says_so(registry: Registry, error: type[BaseException], status: str) -> None:
    """A run never stays running because its job raised."""
    with pytest.raises(error), registry.start_run("x", "y") as run:
        raise error
    assert registry.client.get_run(run.run_id).info.status == status


def test_a_deleted_experiment_is_told(registry: Registry) -> None:
    """MLflow keeps the name of a deleted experiment; the error has the command that restores it."""
    with registry.start_run("x", "y") as run:
        pass
    registry.client.delete_experiment(run.experiment)
    with pytest.raises(RegistryError, match="x was deleted") as caught:
        registry.start_run("x", "y")
    assert caught.value.do == f"mlflow experiments restore -x {run.experiment}"
