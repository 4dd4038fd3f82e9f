"""One MLflow run: parameters, data, figures, pictures and the note of whatever made a version."""

import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from registry.connection import answering
from registry.figures import FINAL
from registry.location import Location
from registry.ownership import OWNER, Ownership
from registry.provenance import SystemMetrics, source_tags

NOTE = "mlflow.note.content"  # MLflow shows this tag as the description of a run
PICTURES = "pictures"
_MOST = {"metrics": 1000, "params": 100, "tags": 100}  # that one request may carry
_LONGEST_PARAM = 6000
_DIGEST = 36  # characters of a digest that MLflow keeps

T = TypeVar("T")


class Figure(Protocol):
    """What can be kept as a picture: a matplotlib figure."""

    def savefig(self, fname: Any, **options: Any) -> object:
        """Write the picture to a file."""


class Run:
    """An MLflow run being written; as a context manager it ends as finished, failed or killed."""

    def __init__(self, client: Any, location: Location, experiment: str, run_id: str, owner: Ownership):
        self.client = client
        self.location = location
        self.experiment = experiment
        self.run_id = run_id
        self.owner = owner
        self.system = SystemMetrics()
        self.curves: set[str] = set()

    @classmethod
    def start(
        cls, client: Any, location: Location, experiment: str, name: str, tags: dict[str, str], description: str
    ) -> Self:
        """Make the run in the experiment with id ``experiment``; prefer `Registry.start_run`."""
        owner = Ownership(location)
        facts = source_tags() | tags | {OWNER: owner.token} | ({NOTE: description} if description else {})
        run = client.create_run(experiment, tags=facts, run_name=name)
        return cls(client, location, experiment, run.info.run_id, owner)

    @classmethod
    def resume(cls, client: Any, location: Location, run_id: str) -> Self:
        """Go on with a run whose process ended; prefer `Registry.resume_run`."""
        seen = client.get_run(run_id)
        owner = Ownership(location, seen.data.tags.get(OWNER, ""))
        client.set_tag(run_id, OWNER, owner.token)
        client.update_run(run_id, status="RUNNING")
        resumed = cls(client, location, seen.info.experiment_id, run_id, owner)
        resumed.curves.update(key for key in seen.data.metrics if client.get_metric_history(run_id, key)[-1].step)
        return resumed

    def log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log figures, all of them in one request.

        Final ones at step 0, which MLflow shows as bars; curves from step 1, every few steps: a request
        takes tens of milliseconds. Names are ``GROUP/NAME`` as in `registry.figures`; a final figure whose
        name has a curve goes to ``final/GROUP/NAME``, or it would be drawn as the curve's beginning. With
        curves goes, at most every ten seconds, what the process costs the machine (``system/...``).
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        if step:
            figures = {**metrics, **self.system.due()}
            self.curves.update(figures)
        else:
            figures = {f"{FINAL}{key}" if key in self.curves else key: value for key, value in metrics.items()}
        self._batch("metrics", [Metric(key, float(value), now, step) for key, value in figures.items()])

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record what the run was started with; nested mappings become ``outer.inner``.

        A parameter cannot change later: repeating it is fine, another value is an error.

        Raises:
            RegistryError: a parameter has another value already.
        """
        from mlflow.entities import Param

        self._batch("params", [Param(key, str(value)[:_LONGEST_PARAM]) for key, value in flat(params)])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags, such as ``verdict``."""
        from mlflow.entities import RunTag

        self._batch("tags", [RunTag(key, value) for key, value in tags.items()])

    def _batch(self, kind: str, entries: Sequence[Any]) -> None:
        with answering(self.location):
            for part in _parts(entries, _MOST[kind]):
                self.client.log_batch(self.run_id, **{kind: part})

    def log_dataset(self, name: str, digest: str, context: str, source: str = "", **profile: object) -> None:
        """Name data that the run used, as an input of the run.

        Args:
            name: such as ``traces-sql``, or ``traces-sql-heldout``.
            digest: of its content; MLflow keeps the first 36 characters.
            context: what it was used for: ``train``, ``validation`` or ``gate``.
            source: where it came from, such as a folder or a file.
            profile: figures about it, such as ``records=4096``.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name,
            digest[:_DIGEST],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile) if profile else None,
        )
        tags = [InputTag("mlflow.data.context", context)]
        with answering(self.location):
            self.client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def log_picture(self, name: str, picture: Figure | bytes) -> None:
        """Keep a figure, or the bytes of an image, as ``pictures/NAME``; ``.png`` unless it has a suffix."""
        if not isinstance(picture, bytes):
            drawn = io.BytesIO()
            picture.savefig(drawn, format=Path(name).suffix.lstrip(".") or "png")
            picture = drawn.getvalue()
        self._keep(PICTURES, name if Path(name).suffix else f"{name}.png", picture)

    def log_document(self, name: str, document: object) -> None:
        """Keep a JSON document, such as the resolved configuration, as ``NAME.json``."""
        self._keep("", f"{name}.json", (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())

    def _keep(self, folder: str, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / name
            file.write_bytes(content)
            self.add_file(file, folder)

    def rename(self, name: str) -> None:
        """Give the run the name that it has once its outcome is known."""
        with answering(self.location):
            self.client.update_run(self.run_id, name=name)

    def set_note(self, markdown: str) -> None:
        """Set the description: outcome, table, command to repeat, command to undo (`registry.describe.run_note`)."""
        self.set_tags({NOTE: markdown})

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
        self.owner.release()


def flat(params: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The entries of nested mappings, their keys joined by dots."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parts(entries: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), most):
        yield entries[start : start + most]
