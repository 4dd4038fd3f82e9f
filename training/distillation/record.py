"""A distillation in the registry: one run while it lasts, one version when it is done, however often it was killed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.console import write_whole
from configs.errors import RegistryError
from registry.describe import draft_description, finished_name, run_note, running_name, version_description
from registry.experiments import experiment_name
from registry.figures import tags_of
from registry.names import CHALLENGER, Reference, draft_model
from registry.provenance import revision
from registry.runs import Run
from registry.store import Registry
from registry.version import Version
from training.distillation.measure import Figures
from training.distillation.parent import Parent
from training.distillation.pictures import draw_alpha, draw_loss, draw_positions
from training.distillation.trainer import History

JOB = "distilled"
_POINTS = 200  # of a curve, about: a request to the registry takes as long as several steps


@dataclass(frozen=True)
class Subject:
    """What the version will say of itself whatever comes of it."""

    deployment: str
    topic: str
    parent: Parent
    tags: dict[str, str]  # target, tokenizer, data_window and the like
    params: Mapping[str, object]
    datasets: Mapping[str, tuple[str, int]]  # context -> digest and texts
    dataset: str  # prompts or traces
    command: str  # to repeat it
    config: Mapping[str, object] | None = None  # the resolved deployment file

    @property
    def model(self) -> str:
        """The registered model that gets the version."""
        return draft_model(self.deployment, self.topic)


@dataclass(frozen=True)
class Outcome:
    """What came of it, on validation text."""

    folder: Path
    now: Figures
    before: Figures  # the parent's
    before_development: Figures
    history: History  # of the last stage


class Record:
    """The run of a job; make it with `Record.open`, which finds the run of a job that was killed."""

    def __init__(self, registry: Registry, run: Run, subject: Subject):
        self.registry, self.run, self.subject = registry, run, subject

    @classmethod
    def open(cls, registry: Registry, subject: Subject, note: Path) -> "Record":
        """Begin or resume; ``note`` remembers which run it is."""
        if note.is_file():
            try:
                return cls(registry, registry.resume_run(json.loads(note.read_text())), subject)
            except RegistryError:
                note.unlink()  # gone, or of another registry: begin another
        name = running_name(subject.topic, JOB, subject.parent.number_in(subject.model))
        tags = {**subject.tags, "topic": subject.topic, "job": JOB, "parent": subject.parent.label}
        run = registry.start_run(experiment_name(subject.deployment, "distill"), name, tags)
        write_whole(note, json.dumps(run.run_id))
        run.log_params(subject.params)
        run.log_document("plan", subject.params)
        if subject.config is not None:
            run.log_document("config", subject.config)
        for context, (digest, texts) in subject.datasets.items():
            run.log_dataset(f"{subject.dataset}-{subject.topic}", digest, context, texts=texts)
        return cls(registry, run, subject)

    def step(self, history: History, total: int, before: int) -> None:
        """A step is done, ``before`` steps of other stages having gone before it."""
        done = history.step
        measured = bool(history.validations) and history.validations[-1][0] == done
        if measured or done % max(1, total // _POINTS) == 0:
            metrics = {"loss/train": history.losses[-1]}
            if measured:
                metrics |= history.validations[-1][1].metrics()
            self.run.log(metrics, step=before + done)

    def finish(self, outcome: Outcome) -> Version:
        """Register the version, unless a killed job got that far, as the challenger; write up the run."""
        version = self._registered() or self._register(outcome)
        if CHALLENGER not in version.aliases:
            model = next(found for found in self.registry.list_models(version.model) if found.model == version.model)
            self.registry.set_alias(version.model, CHALLENGER, version.version, model.aliases.get(CHALLENGER))
        subject, history = self.subject, outcome.history
        self.run.log_picture("alpha_over_time", draw_alpha(history, outcome.before_development))
        self.run.log_picture("loss_over_time", draw_loss(history))
        self.run.log_picture("acceptance_by_position", draw_positions(outcome.now, outcome.before))
        self.run.log_document("history", history.document())
        self.run.rename(finished_name(subject.topic, JOB, version.version))
        undo = f"polydraft registry rollback {subject.topic}"
        self.run.set_note(run_note(_sentence(version, outcome), *_table(subject, outcome), subject.command, undo))
        return self.registry.get(_reference(version))

    def _registered(self) -> Version | None:
        models = self.registry.list_models(self.subject.model)
        versions = [version for model in models if model.model == self.subject.model for version in model.versions]
        return next((version for version in versions if version.run_id == self.run.run_id), None)

    def _register(self, outcome: Outcome) -> Version:
        subject, now = self.subject, outcome.now
        is_new = all(found.model != subject.model for found in self.registry.list_models(subject.model))
        figures = tags_of({"alpha": now.alpha_t0, "alpha_t1": now.alpha_t1}, now.by_position_t0)
        tags = {**subject.tags, **figures, "topic": subject.topic, "job": JOB, "parent": subject.parent.label}
        if commit := revision():
            tags["git"] = commit
        made_from = f"trained from {subject.parent.label} on {subject.tags['data_window']}"
        version = self.registry.register(
            subject.model,
            outcome.folder,
            tags,
            now.metrics(),
            description=version_description(_gain(outcome), made_from),
            parent_version=subject.parent.number_in(subject.model),
            run=self.run,
        )
        if is_new:
            licence = "Its data came from this deployment; mind whose they are."
            self.registry.set_model_facts(
                subject.model, {}, draft_description(subject.deployment, subject.topic, licence)
            )
        return version


def _reference(version: Version) -> Reference:
    return Reference(version.model, None, version.version)


def _gain(outcome: Outcome) -> str:
    now, before = outcome.now, outcome.before
    text = f"alpha {now.alpha_t0:.3f} at temperature 0 and {now.alpha_t1:.3f} at 1"
    return f"{text} (its parent: {before.alpha_t0:.3f} and {before.alpha_t1:.3f}) on {now.tokens:,} held-out tokens"


def _sentence(version: Version, outcome: Outcome) -> str:
    return f"{version.label}: {_gain(outcome)}. It waits as challenger; nothing serves it yet."


def _table(subject: Subject, outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    sides = (outcome.now, outcome.before)
    header = ["figure", "new", subject.parent.label]
    rows = [
        ["alpha, temperature 0", *(f"{side.alpha_t0:.3f}" for side in sides)],
        ["alpha, temperature 1", *(f"{side.alpha_t1:.3f}" for side in sides)],
        ["KL, nats a token", *(f"{side.loss:.3f}" for side in sides)],
    ]
    return header, rows
