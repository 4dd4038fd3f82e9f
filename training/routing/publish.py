"""What the registry is told of a retrained router: a run with figures and pictures, a version, a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.describe import finished_name, router_description, run_note, running_name, version_description
from registry.experiments import experiment_name
from registry.names import CHALLENGER, Reference, router_model
from registry.runs import Run
from registry.store import Registry
from registry.verdicts import promote, refuse
from registry.version import Version
from training.routing import pictures
from training.routing.gate import Outcome, Verdict
from training.routing.prompts import PARTS, RoutingPrompts
from training.routing.report import figures, lines, speedups
from training.routing.retrain import Trained

JOB = "retrained"
_CONTEXTS = {"train": "train", "calibration": "validation", "held_out": "gate"}
_SHORT = "router"


@dataclass(frozen=True)
class Book:
    """The registered router of a deployment."""

    registry: Registry
    deployment: str

    @property
    def model(self) -> str:
        return router_model(self.deployment)

    def champion(self) -> Version | None:
        """What serves, or None."""
        models = [model for model in self.registry.list_models(self.model) if model.model == self.model]
        champion = next((model.champion for model in models), None)
        return None if champion is None else self.registry.get(Reference(self.model, None, champion.version))


@dataclass(frozen=True)
class Wish:
    """What is to become of a router that was trained.

    Attributes:
        serve: promote it unless it is worse.
        serve_if_better: promote it if it is better.
        command: repeats the training.
        params: what it was started with.
        config: the resolved deployment file, for the record.
    """

    serve: bool
    serve_if_better: bool
    command: str
    params: Mapping[str, object]
    config: Mapping[str, object] | None = None

    def grants(self, verdict: Verdict) -> bool:
        """Whether a router with this verdict is promoted; a worse one never is."""
        if verdict.outcome is Outcome.WORSE:
            return False
        return self.serve or (self.serve_if_better and verdict.outcome is Outcome.BETTER)


def publish(book: Book, trained: Trained, folder: Path, champion: Version | None, wish: Wish) -> Version:
    """Register ``folder``, which holds the trained router, and act on its verdict.

    Args:
        champion: what served when it was compared.

    Raises:
        AliasMoved: something else serves by now; the version is registered, and nothing is promoted.
    """
    registry, verdict = book.registry, trained.verdict
    parent = None if champion is None else champion.version
    tags = {"job": JOB, "embedding": trained.router.encoder.name, "data_window": _window(trained.prompts)}
    with registry.start_run(experiment_name(book.deployment, "router"), running_name(_SHORT, JOB, parent), tags) as run:
        _log(run, trained, wish)
        version = registry.register(
            book.model,
            folder,
            tags,
            _figures(trained),
            description=version_description(_sentence(verdict.reason), f"trained on {_window(trained.prompts)}"),
            parent_version=parent,
            run=run,
        )
        run.rename(finished_name(_SHORT, JOB, version.version))
        run.set_note(_note(trained, version, wish))
    if parent is None:
        licence = "Its data came from this deployment; mind whose they are."
        registry.set_model_facts(book.model, {}, router_description(book.deployment, licence))
    if wish.grants(verdict):
        return promote(registry, version, parent, verdict.reason)
    if verdict.outcome is Outcome.BETTER:
        return _challenger(registry, version, f"{verdict.reason}; polydraft registry promote {version.label}")
    return refuse(registry, version, verdict.reason)


def _challenger(registry: Registry, version: Version, reason: str) -> Version:
    model = next(found for found in registry.list_models(version.model) if found.model == version.model)
    registry.set_alias(version.model, CHALLENGER, version.version, model.aliases.get(CHALLENGER))
    registry.set_tags(version, {"verdict_reason": reason})
    return registry.get(Reference(version.model, None, version.version))


def _log(run: Run, trained: Trained, wish: Wish) -> None:
    run.log_params(wish.params)
    if wish.config is not None:
        run.log_document("config", wish.config)
    for part in PARTS:
        prompts = trained.prompts
        run.log_dataset("prompts-router", prompts.digest(part), _CONTEXTS[part], prompts=prompts.size(part))
    sample, found = trained.sample, trained.candidate
    run.log_picture("confusion", pictures.draw_confusion(found, sample))
    run.log_picture("reliability", pictures.draw_reliability(found, sample))
    run.log_picture("wrong_examples.html", pictures.wrong_examples(found, sample))
    if sample.answered is not None:
        both = {trained.serving_label: speedups(trained.serving, sample), "new": speedups(found, sample)}
        run.log_picture("speedup_by_topic", pictures.draw_speedup(both))
        run.log_document("speedup_by_topic", both)


def _figures(trained: Trained) -> dict[str, float]:
    difference = trained.verdict.difference
    gate = {"difference": difference.mean, "lower": difference.lower, "upper": difference.upper}
    own = {f"gate/{name}": value for name, value in {**gate, "prompts": float(difference.count)}.items()}
    return {**figures(trained.candidate, trained.sample), **own}


def _note(trained: Trained, version: Version, wish: Wish) -> str:
    sides = {version.label: trained.candidate, trained.serving_label: trained.serving}
    header, rows = lines({label: figures(side, trained.sample) for label, side in sides.items()})
    outcome = f"{version.label} is {trained.verdict.outcome.value}: {trained.verdict.reason}."
    undo = "polydraft router rollback" if wish.grants(trained.verdict) else ""
    return run_note(outcome, ["figure", *header[1:]], rows, wish.command, undo)


def _window(prompts: RoutingPrompts) -> str:
    return f"{prompts.size('train') + prompts.size('calibration'):,} prompts of {len(prompts.topics)} topics"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
