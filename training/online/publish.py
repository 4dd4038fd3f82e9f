"""What the registry is told of an update: a run while it trains, a version, a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.errors import RegistryError
from registry import verdicts
from registry.describe import finished_name, run_note, running_name, version_description
from registry.experiments import experiment_name
from registry.names import CHALLENGER, CHAMPION, Reference
from registry.runs import Run
from registry.store import Registry
from registry.verdicts import GATE_AGAINST, GATE_OUTCOME, promote, refuse
from registry.version import ModelSummary, Version
from training.gate import Outcome
from training.online.pictures import draw_gate
from training.online.state import Job
from training.online.trial import Trial

ONLINE = "online"  # the tag ``job``
JOB = "learning_job"  # tag: names the job that a version came of
LEARNED = "learned_until"  # tag: what the version has learned from ends here in the trace log


@dataclass(frozen=True)
class Book:
    """The registered model of one topic's draft."""

    registry: Registry
    deployment: str
    topic: str
    model: str

    @property
    def champion(self) -> Version:
        """What serves.

        Raises:
            RegistryError: nothing does.
        """
        return self.registry.get(Reference(self.model, CHAMPION, None))

    def version(self, number: int) -> Version | None:
        """A version, if it is there still."""
        try:
            return self.registry.get(Reference(self.model, None, number))
        except RegistryError:
            if any(each.version == number for each in self._versions()):
                raise
            return None

    def came_of(self, job: Job) -> Version | None:
        """The version that ``job`` led to, if it got that far; it is the challenger then."""
        found = next((version for version in self._versions() if version.tags.get(JOB) == job.name), None)
        if found is not None and not {CHALLENGER, CHAMPION} & set(found.aliases):
            aliases = next(model.aliases for model in self._models())
            self.registry.set_alias(self.model, CHALLENGER, found.version, aliases.get(CHALLENGER))
        return found

    def _models(self) -> list[ModelSummary]:
        return [model for model in self.registry.list_models(self.model) if model.model == self.model]

    def _versions(self) -> Sequence[Version]:
        return [version for model in self._models() for version in model.versions]

    def run_for(self, job: Job, tags: Mapping[str, str]) -> Run:
        """The run of a job: the one that it has begun, else a new one."""
        if job.run and self.registry.run_record(job.run) is not None:
            return self.registry.resume_run(job.run)
        name = running_name(self.topic, ONLINE, job.parent)
        return self.registry.start_run(experiment_name(self.deployment, "distill"), name, tags)

    def supersede(self, number: int, by: Version) -> None:
        """Say of a candidate that the next one came before the gate could tell."""
        old = self.version(number)
        if old is not None and "verdict" not in old.tags:
            reason = old.tags.get("verdict_reason", "the gate had not looked at it")
            verdicts.judge(self.registry, old, "refused", f"{reason}; v{by.version} came before it could tell")

    def report(self, candidate: Version, champion: Version, trial: Trial, is_automatic: bool) -> None:
        """Write a trial down and act on its verdict; an undecided candidate stays the challenger.

        Raises:
            AliasMoved: the champion is another one by now, so that the verdict is worth nothing; nothing moved.
        """
        verdict = trial.verdict
        tokens = {"tokens_per_target_run": f"{trial.candidate.tokens_per_target_run:.3f}"}
        gate = {GATE_OUTCOME: verdict.outcome.value, GATE_AGAINST: champion.label}
        self.registry.set_tags(candidate, tokens | gate)
        if verdict.outcome is Outcome.PROMOTED and is_automatic:
            promote(self.registry, candidate, champion.version, verdict.reason)
        elif verdict.outcome is Outcome.REFUSED:
            refuse(self.registry, candidate, verdict.reason)
        else:
            reason = verdict.reason
            if verdict.outcome is Outcome.PROMOTED:
                reason += f"; learning.promote is candidate: polydraft registry promote {candidate.label}"
            self.registry.set_tags(candidate, {"verdict_reason": reason})
        self._write_up(candidate, champion, trial)

    def settle(self, candidate: Version) -> None:
        """Complete a promotion that was killed after the alias had moved."""
        verdicts.finish_interrupted(self.registry, self.model)
        self.registry.drop_alias(self.model, CHALLENGER, candidate.version)
        if candidate.tags.get("verdict") != "promoted":
            verdicts.judge(self.registry, candidate, "promoted", "by the gate; killed before it could say why")

    def _write_up(self, candidate: Version, champion: Version, trial: Trial) -> None:
        if candidate.run_id is None or self.registry.run_record(candidate.run_id) is None:
            return
        verdict = trial.verdict
        header = ["figure", candidate.label, champion.label]
        replayed = [trial.candidate, trial.champion]
        if trial.control is not None:
            header.append("offline control")
            replayed.append(trial.control)
        rows = [
            ["alpha", *(f"{each.alpha:.3f}" for each in replayed)],
            ["tokens a target run", *(f"{each.tokens_per_target_run:.3f}" for each in replayed)],
        ]
        outcome = f"{candidate.label} {said(verdict.outcome)}: {verdict.reason}."
        undo = f"polydraft registry rollback {self.topic}" if verdict.outcome is Outcome.PROMOTED else ""
        with self.registry.resume_run(candidate.run_id) as run:
            run.rename(finished_name(self.topic, ONLINE, candidate.version))
            gate = {"difference": verdict.difference, "requests": float(verdict.requests)}
            if verdict.lower > -float("inf"):
                gate |= {"lower": verdict.lower, "upper": verdict.upper}
            run.log({f"gate/{name}": value for name, value in gate.items()})
            run.log_picture("gate_sequence", draw_gate(verdict.sequence))
            run.set_note(run_note(outcome, header, rows, "polydraft learn --once", undo))


def said(outcome: Outcome) -> str:
    """``passes the gate``."""
    return {
        Outcome.PROMOTED: "passes the gate",
        Outcome.REFUSED: "is refused",
        Outcome.UNDECIDED: "waits for more requests",
    }[outcome]


def description(parent: Version, job: Job) -> str:
    """Of a version that the gate has not looked at."""
    return version_description("Learned while serving", f"trained from v{parent.version} on {job.window}")
