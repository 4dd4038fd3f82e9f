import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from configs.errors import RegistryError
from registry.provenance import SystemMetrics, revision
from registry.runs import NOTE
from registry.store import Registry

KEPT = ["pictures/alpha_over_time.png", "pictures/wrong_examples.html", "config.json"]


def test_a_run_keeps_what_it_was_told(registry: Registry, tmp_path: Path) -> None:
    """Curves, parameters, tags, description, files and its last name are found again."""
    picture = tmp_path / "alpha_over_time.png"
    picture.write_bytes(b"png")
    with registry.start_run("starter-distill", "sql online from v8", {"topic": "sql"}) as run:
        for step in (1, 2):
            run.log({"loss/train": 1 / step, "acceptance/alpha": 0.8}, step)
        run.log_params({"learning_rate": 1e-3})
        run.set_tags({"verdict": "promoted"})
        run.set_note("Better.")
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


def test_data_that_a_run_used_is_an_input_of_it(registry: Registry) -> None:
    """Name, context, source and figures are found; the digest is cut to what MLflow keeps."""
    with registry.start_run("starter-distill", "sql") as run:
        run.log_dataset("traces-sql", "9c1f" * 16, "train", source="/data/sql", records=4096)
        run.log_dataset("traces-sql-heldout", "ab", "gate")
    used = {
        each.dataset.name: (each.dataset, {tag.key: tag.value for tag in each.tags})
        for each in registry.client.get_run(run.run_id).inputs.dataset_inputs
    }
    dataset, tags = used["traces-sql"]
    assert (dataset.digest, json.loads(dataset.profile), tags) == (
        "9c1f" * 9,
        {"records": 4096},
        {"mlflow.data.context": "train"},
    )
    assert "/data/sql" in dataset.source
    assert used["traces-sql-heldout"][1] == {"mlflow.data.context": "gate"}


def test_pictures_and_documents_are_kept(registry: Registry, tmp_path: Path) -> None:
    """A figure is drawn as PNG, bytes are kept as they are, a document as JSON."""
    figure = Figure(figsize=(1, 1))
    with registry.start_run("x", "y") as run:
        run.log_picture("alpha_over_time", figure)
        run.log_picture("wrong_examples.html", b"<p>none")
        run.log_document("config", {"seed": 1})
    paths = {name: registry.client.download_artifacts(run.run_id, name, str(tmp_path)) for name in KEPT}
    contents = {name: Path(path).read_bytes() for name, path in paths.items()}
    assert contents[KEPT[0]].startswith(b"\x89PNG")
    assert contents[KEPT[1]] == b"<p>none"
    assert json.loads(contents[KEPT[2]]) == {"seed": 1}


def test_many_parameters_and_figures_are_logged_in_as_many_requests_as_it_takes(registry: Registry) -> None:
    """Beyond what MLflow takes at once; nested mappings get dotted names; long values are cut."""
    with registry.start_run("x", "y") as run:
        run.log({f"loss/{index}": float(index) for index in range(1001)}, step=1)
        run.log_params({"optimizer": {"rate": 0.1}, "text": "a" * 9000, **{f"p{index}": index for index in range(120)}})
    data = registry.client.get_run(run.run_id).data
    assert len(data.metrics) == 1001
    assert (data.params["optimizer.rate"], len(data.params["text"]), len(data.params)) == ("0.1", 6000, 122)


def test_a_parameter_never_changes(registry: Registry) -> None:
    """The same value again is fine, as when a job goes on; another one is told."""
    with registry.start_run("x", "y") as run:
        run.log_params({"seed": 1})
        run.log_params({"seed": 1})
        with pytest.raises(RegistryError, match="seed"):
            run.log_params({"seed": 2})


def test_a_run_says_where_it_came_from_and_what_it_cost(registry: Registry) -> None:
    """Command and revision are tags; processor and memory are curves, and only beside other curves."""
    with registry.start_run("starter-distill", "y") as run:
        run.system.interval = 0
        run.log({"acceptance/alpha": 0.5})
        run.log({"loss/train": 1.0}, step=1)
    seen = registry.client.get_run(run.run_id)
    assert "/" not in seen.data.tags["mlflow.source.name"]
    assert seen.data.tags.get("git") == revision()
    (point,) = registry.client.get_metric_history(run.run_id, "system/peak_memory_mebibytes")
    assert (point.step, point.value > 1) == (1, True)
    experiment = registry.client.get_experiment_by_name("starter-distill")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "trains a draft" in experiment.tags[NOTE]


def test_system_figures_come_once_an_interval() -> None:
    """Asked at every step, they answer rarely."""
    assert SystemMetrics(interval=3600).due() == {}
    assert SystemMetrics(interval=0).due().keys() >= {"system/cpu_percent_of_one_core"}


def test_a_final_figure_is_not_drawn_as_the_beginning_of_its_curve(registry: Registry) -> None:
    """It gets a name of its own, also after the job was killed and resumed."""
    run = registry.start_run("x", "y")
    run.log({"acceptance/alpha": 0.5}, step=1)
    run.owner.release()
    with registry.resume_run(run.run_id) as resumed:
        resumed.log({"acceptance/alpha": 0.6, "cost/runs_per_1000_tokens": 300.0})
    assert registry.client.get_run(run.run_id).data.metrics == {
        "acceptance/alpha": 0.5,
        "final/acceptance/alpha": 0.6,
        "cost/runs_per_1000_tokens": 300.0,
    }
