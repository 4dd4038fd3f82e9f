"""A deployment's topics change: drafts for new ones, and a router that knows them, all registered.

Every version that was there stays: `polydraft registry rollback router` is the way back, whatever was done here.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import CorpusError
from registry.experiments import experiment_name
from registry.names import CHALLENGER, CHAMPION, Reference, router_model
from registry.provenance import revision
from registry.store import Registry
from registry.verdicts import promote, refuse
from registry.version import Version
from router.embedding_cache import CachedEncoder
from router.prompts import MIN_PROMPTS, prepare_prompts
from router.topic_router import TopicRouter
from router.training import RouterSettings, TrainingReport, train_router
from training.distillation.job import run_job
from training.distillation.job_description import Job
from training.distillation.parent import Parent
from training.distillation.presets import PRESETS
from training.topics.lesson import Author, Teaching
from training.topics.traffic import Traffic, write_traces

MOST_LOST = 0.02  # share of the topics' prompts that a router with other topics may send elsewhere than before

Prompts = Mapping[str, Sequence[str]]  # by topic


@dataclass(frozen=True)
class Workshop:
    """What all changes of a deployment share.

    Attributes:
        deployment: its name.
        work: everything made on the way; a change that was killed goes on from there.
        command: repeats what is being done, for the registry.
    """

    deployment: str
    registry: Registry
    target: Path
    max_length: int
    encoder: CachedEncoder
    work: Path
    command: str
    teaching: Teaching = field(default_factory=Teaching)
    settings: RouterSettings | None = None
    say: Callable[[str], None] = lambda _: None

    def distil(self, topic: str, lesson: Traffic, parent: Parent) -> Version:
        """A draft for ``topic`` that goes on from ``parent``; registered as challenger, once for each lesson."""
        self.say(f"{topic}: a draft from {parent.label} and {len(lesson)} answers")
        digest = _digest(lesson)
        folder, work = self.work / "lessons" / f"{topic}-{digest}", self.work / "drafts" / f"{topic}-{digest}"
        if (work / "done.json").is_file():
            return self._version(json.loads((work / "done.json").read_text())["version"])
        author = Author(self.target, self.encoder, self.work, self.teaching, self.say)
        write_traces(folder, author.lesson(topic, lesson))
        how = self.teaching
        preset = PRESETS["topic"].with_last(
            steps=how.steps,
            learning_rate=how.learning_rate,
            validate_every=how.validate_every,
            coverage=1.0,  # few answers know few words
        )
        job = Job(
            deployment=self.deployment,
            topic=topic,
            target=self.target,
            parent=parent,
            work=work,
            preset_name="topic",
            preset=preset,
            traces=folder,
            max_length=self.max_length,
            command=self.command,
        )
        result = run_job(job, self.registry)
        assert result.version is not None
        return self._version(result.version)

    def router(self, prompts: Prompts, foreign: Sequence[str], why: str) -> tuple[Version, TrainingReport]:
        """A router for exactly these topics; registered as challenger.

        Raises:
            CorpusError: too few prompts of a topic, or too few foreign ones.
        """
        for topic, texts in {**prompts, "no topic": foreign}.items():
            if len(set(texts)) < MIN_PROMPTS:
                raise CorpusError(
                    f"{len(set(texts))} different prompts of {topic} teach a router nothing",
                    do="pass --data a folder with prompts of every topic and out_of_scope.jsonl",
                )
        self.say(f"a router for {', '.join(prompts)}")
        router, report = train_router(prompts, foreign, self.encoder, settings=self.settings)
        folder = self.work / "router"
        folder.mkdir(parents=True, exist_ok=True)
        router.save(folder)
        model = router_model(self.deployment)
        before = self._champion(model)
        tags = {"topics": " ".join(prompts), "job": "topics", "embedding": self.encoder.name, "command": self.command}
        if commit := revision():
            tags["git"] = commit
        version = self.registry.register(
            model,
            folder,
            tags,
            report.calibration.figures(),
            CHALLENGER,
            run_name=f"router {why}",
            experiment=experiment_name(self.deployment, "router"),
            description=why,
            parent_version=None if before is None else before.version,
        )
        return version, report

    def promote(self, version: Version, why: str) -> Version:
        """Make it the champion."""
        before = self._champion(version.model)
        if before is not None and before.version == version.version:
            return before
        return promote(self.registry, version, None if before is None else before.version, why)

    def refuse(self, version: Version, why: str) -> Version:
        """Leave it as challenger."""
        return refuse(self.registry, version, why)

    def parent(self, reference: str) -> Parent:
        """The draft behind a registry reference, to go on from."""
        version = self.registry.resolve(reference)
        return Parent(version.folder, version.label, version)

    def serving_router(self) -> TopicRouter | None:
        """The router that is champion now."""
        champion = self._champion(router_model(self.deployment))
        return None if champion is None else TopicRouter.load(champion.folder, self.encoder)

    def lost(self, prompts: Prompts, foreign: Sequence[str], new: TopicRouter, renamed: Mapping[str, str]) -> float:
        """Share of the calibration prompts of topics that stay which got their topic's draft before and no more.

        What the new router gains elsewhere counts against it. 0 where there is no router before.

        Args:
            renamed: what a topic of ``prompts`` was called before; those that are not in it are new.
        """
        before = self.serving_router()
        if before is None:
            return 0.0
        held_out = prepare_prompts(prompts, foreign, 0, (self.settings or RouterSettings()).max_per_topic).calibration
        balance, number = 0, 0
        for topic, old in renamed.items():
            texts = held_out[topic]
            was = [decision.topic == old for decision in before.decide_many(texts)]
            now = [decision.topic == topic for decision in new.decide_many(texts)]
            balance += sum(was) - sum(now)
            number += len(texts)
        return balance / max(1, number)

    def _version(self, label: str) -> Version:
        return self.registry.get(Reference.parse(label, self.deployment))

    def _champion(self, model: str) -> Version | None:
        found = [each for each in self.registry.list_models(model) if each.model == model]
        champion = found[0].champion if found else None
        return None if champion is None else self.registry.get(Reference(model, CHAMPION, None))


@dataclass(frozen=True)
class Changed:
    """What came of a change.

    Attributes:
        drafts: versions by topic.
        lost: as `Workshop.lost`.
        promoted: whether drafts and router serve now; else the router waits as challenger.
    """

    drafts: dict[str, Version]
    router: Version
    report: TrainingReport
    lost: float
    promoted: bool

    def document(self) -> dict[str, object]:
        """For people and programs."""
        figures = {name: round(value, 4) for name, value in self.report.calibration.figures().items()}
        return {
            "drafts": {topic: version.label for topic, version in self.drafts.items()},
            "alpha": {topic: version.figure("alpha") for topic, version in self.drafts.items()},
            "router": self.router.label,
            "topics": sorted(self.report.num_prompts),
            "lost": self.lost,
            "promoted": self.promoted,
            "figures": figures,
        }


def change(
    workshop: Workshop,
    lessons: Mapping[str, tuple[Traffic, Parent]],
    prompts: Prompts,
    foreign: Sequence[str],
    why: str,
) -> Changed:
    """Make drafts for new topics and a router for ``prompts``; promote all if the other topics lose nothing.

    Drafts are promoted first: a router must not send anybody to a draft that is not there.

    Args:
        lessons: what each new topic's draft learns from, and which draft it goes on from.
        prompts: of every topic that there is to be.
    """
    drafts = {topic: workshop.distil(topic, lesson, parent) for topic, (lesson, parent) in lessons.items()}
    version, report = workshop.router(prompts, foreign, why)
    new = TopicRouter.load(version.folder, workshop.encoder)
    lost = workshop.lost(prompts, foreign, new, {topic: topic for topic in prompts if topic not in lessons})
    if lost > MOST_LOST:
        reason = f"{lost:.1%} of the other topics' prompts lose their draft; {MOST_LOST:.0%} may"
        return Changed(drafts, workshop.refuse(version, reason), report, lost, promoted=False)
    promoted = {topic: workshop.promote(draft, why) for topic, draft in drafts.items()}
    return Changed(promoted, workshop.promote(version, why), report, lost, promoted=True)


def _digest(lesson: Traffic) -> str:
    whole = hashlib.sha256()
    for trace in lesson.traces:
        whole.update(repr((trace.prompt_length, trace.token_ids)).encode())
    return whole.hexdigest()[:12]
