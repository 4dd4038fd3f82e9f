"""What a topic's learner remembers across kills: how far it has seen, the candidate before the gate, the job in hand.

Every file and folder is replaced whole or not at all.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from configs.console import write_whole
from decoding.trace_reader import Cursor
from training.distillation.examples import Examples


@dataclass(frozen=True, slots=True)
class Pending:
    """A registered candidate on which the gate has not decided yet.

    Attributes:
        after: where its held-out traces begin.
        seen: traces of the topic since then, when it was looked at last.
    """

    version: int
    after: Cursor
    seen: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Of one topic.

    Attributes:
        seen: traces before this place have called for an update already.
        job: the last job that led to a version, or to none and never will.
    """

    seen: Cursor = field(default_factory=Cursor)
    pending: Pending | None = None
    job: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One update in hand.

    Attributes:
        name: of this job alone; a version that came of it carries it as a tag.
        parent: version of the champion that it goes on from.
        after, until: where the traces are that the champion has not learned from.
        fresh, replayed: traces of the lesson.
        window: for people.
    """

    name: str
    parent: int
    after: Cursor
    until: Cursor
    seed: int
    fresh: int
    replayed: int
    greedy_share: float
    window: str
    run: str = ""


class Desk:
    """The folder of one topic's learner."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.job_folder = folder / "job"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def state(self) -> State:
        """As last kept."""
        document = _read(self.folder / "state.json")
        if document is None:
            return State()
        pending = document["pending"]
        if pending is not None:
            pending = Pending(**{**pending, "after": Cursor.parse(pending["after"])})
        return State(Cursor.parse(document["seen"]), pending, document["job"])

    def keep(self, state: State) -> None:
        """Remember ``state``."""
        pending = None if state.pending is None else {**asdict(state.pending), "after": str(state.pending.after)}
        document = {"seen": str(state.seen), "pending": pending, "job": state.job}
        write_whole(self.folder / "state.json", json.dumps(document))

    def begin(self, job: Job, examples: Examples) -> None:
        """Put a job and what it learns from on the desk."""
        fresh = self.folder / ".job.new"
        shutil.rmtree(fresh, ignore_errors=True)
        examples.save(fresh / "examples.safetensors")
        self._write(job, fresh)
        fresh.rename(self.job_folder)

    @property
    def job(self) -> Job | None:
        """The job in hand."""
        document = _read(self.job_folder / "job.json")
        if document is None:
            return None
        places = {key: Cursor.parse(document[key]) for key in ("after", "until")}
        return Job(**{**document, **places})

    def note_run(self, job: Job, run: str) -> Job:
        """Remember which MLflow run the job writes."""
        noted = replace(job, run=run)
        self._write(noted, self.job_folder)
        return noted

    def examples(self) -> Examples:
        """What the job in hand learns from."""
        return Examples.load(self.job_folder / "examples.safetensors")

    def clear(self) -> None:
        """The job is over."""
        done = self.folder / ".job.old"
        shutil.rmtree(done, ignore_errors=True)
        if self.job_folder.exists():
            self.job_folder.rename(done)
            shutil.rmtree(done)

    @staticmethod
    def _write(job: Job, folder: Path) -> None:
        document = {**asdict(job), "after": str(job.after), "until": str(job.until)}
        write_whole(folder / "job.json", json.dumps(document))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return document
