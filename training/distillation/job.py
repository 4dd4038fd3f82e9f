"""`polydraft distill`: answers, stages, an ordinary model folder, a version; run again after a kill, it goes on."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from configs.console import write_whole
from configs.errors import ConfigError, IncompatibleDraft
from decoding.checkpoint import fingerprint, read_config
from decoding.load import load_model
from decoding.model import LanguageModel
from decoding.output_vocabulary import read_output_vocabulary
from decoding.trace_reader import TraceReader
from drafts.compatibility import tokenizer_fingerprint
from drafts.pool import GENERAL
from registry.names import draft_model
from registry.store import Registry
from registry.version import Version
from training.distillation.examples import Examples
from training.distillation.export import export_draft, fresh_student, load_student
from training.distillation.job_description import Job, Result
from training.distillation.material import Material, Writers, from_prompts, from_trace_log, plain_text, written
from training.distillation.measure import measure
from training.distillation.presets import Stage
from training.distillation.progress import Bars
from training.distillation.prompts import Prompts, read_prompts
from training.distillation.record import Outcome, Record, Subject
from training.distillation.sequences import Writing
from training.distillation.trainer import History, train
from training.distillation.vocabulary import output_vocabulary

_SLOTS = 16


def run_job(job: Job, registry: Registry | None) -> Result:
    """Do what is not done yet.

    Args:
        registry: where the version goes; None registers nothing.

    Raises:
        PolydraftError: data, parent or registry cannot be used, or ``job.work`` holds another job.
    """
    transformers_logging.disable_progress_bar()
    target = fingerprint(job.target)
    identity = job.identity(target)
    done = _claim(job, identity, registered=registry is not None)
    if done is not None:
        return done
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(job.target)
    with Bars() as bars:
        result = _Running(job, registry, tokenizer, identity, bars).run()
    write_whole(job.work / "done.json", json.dumps(vars(result)))
    return result


def _claim(job: Job, identity: dict[str, str], registered: bool) -> Result | None:
    """The result if the job is done already; else make sure that the folder is this job's."""
    mark, done = job.work / "job.json", job.work / "done.json"
    if mark.is_file() and json.loads(mark.read_text()) != identity:
        raise ConfigError(f"{job.work} holds another job", do="pass another --work, or remove the folder")
    if done.is_file():
        result = Result(**json.loads(done.read_text()))
        if job.traces is None and (result.version is not None or not registered):
            return result
        if job.traces is not None:  # the log has grown since: learn again, from what it holds now
            shutil.rmtree(job.work)
    job.work.mkdir(parents=True, exist_ok=True)
    write_whole(mark, json.dumps(identity))
    return None


class _Running:
    def __init__(
        self,
        job: Job,
        registry: Registry | None,
        tokenizer: PreTrainedTokenizerBase,
        identity: dict[str, str],
        bars: Bars,
    ):
        self.job, self.registry, self.tokenizer, self.identity, self.bars = job, registry, tokenizer, identity, bars
        self.prompts: Prompts | None = None

    def run(self) -> Result:
        job = self.job
        self._check_parent()
        material = self._material()
        kept = self._vocabulary(material)
        if self.registry is None:
            return self._result(material, self._outcome(material, kept, None), None)
        record = Record.open(self.registry, self._subject(material), job.work / "run.json")
        with record.run:
            outcome = self._outcome(material, kept, record)
            version = record.finish(outcome)
        return self._result(material, outcome, version)

    def _check_parent(self) -> None:
        folder, target = self.job.parent.folder, self.job.target
        speaks = not (folder / "tokenizer.json").is_file()
        speaks = speaks or tokenizer_fingerprint(folder) == tokenizer_fingerprint(target)
        if not speaks or read_config(folder).vocab_size != read_config(target).vocab_size:
            raise IncompatibleDraft(
                f"{self.job.parent.label} was made for another tokenizer; it cannot learn from this target",
                do="pass --from a draft of this target",
            )

    def _material(self) -> Material:
        job, folder = self.job, self.job.work / "material"
        if job.traces is not None:
            topics = None if job.topic == GENERAL else {job.topic}
            reader = TraceReader(job.traces, topics, target=self.identity["target"])
            return from_trace_log(reader, job.wrong_only, folder, job.limit)
        assert job.data is not None
        longest = max(1, min(job.max_length // 2, job.max_length - job.answer_tokens))
        self.prompts = read_prompts(job.data, job.topic, self.tokenizer, longest, job.limit)
        stamp = self.identity["target"] + self.identity["parent"]
        writers = self._writers(job.parent.folder)
        return from_prompts(self.prompts, job.source, self._writing(), writers, stamp, folder, self.bars.show)

    def _writing(self) -> Writing:
        return Writing(frozenset(read_config(self.job.target).eos_token_ids), self.job.answer_tokens)

    def _writers(self, student: Path) -> Writers:
        def loaded(folder: Path) -> Callable[[], LanguageModel]:
            return cache(lambda: load_model(folder, _SLOTS, self.job.max_length))

        return Writers(loaded(self.job.target), loaded(student))

    def _vocabulary(self, material: Material) -> list[int] | None:
        coverage = self.job.preset.stages[-1].plan.coverage
        if coverage == 1:
            return None
        wrote = self.job.source == "teacher"  # else the target's favourites stand for what it would have written
        kept = output_vocabulary(material.train.learnt if wrote else material.train.top_ids[:, 0], coverage)
        parent = self.job.parent
        if parent.number_in(draft_model(self.job.deployment, self.job.topic)) is None:
            return kept
        # The parent's head was chosen on text of this topic, too, and little text knows few words.
        before = read_output_vocabulary(parent.folder, read_config(parent.folder).vocab_size)
        return None if before is None else sorted({*kept, *before})

    def _outcome(self, material: Material, kept: list[int] | None, record: Record | None) -> Outcome:
        job = self.job
        parent = load_student(job.parent.folder).to(job.device)
        emits = read_output_vocabulary(job.parent.folder, parent.config.vocab_size)
        before, development = (measure(parent, [part], emits) for part in (material.validation, material.development))
        student, history = self._train(material, kept, record)
        now = measure(student, [material.validation], kept)
        folder = export_draft(student, self.tokenizer, job.work / "draft", kept)
        return Outcome(folder, now, before, development, history)

    def _train(self, material: Material, kept: list[int] | None, record: Record | None) -> tuple[Any, History]:
        job = self.job
        stages = [part for stage in job.preset.stages for part in stage.in_rounds(job.rounds)]
        seed = stages[0].plan.seed
        student = fresh_student(job.parent.folder, seed) if job.preset.fresh else load_student(job.parent.folder)
        student.to(job.device)
        earlier, history = 0, History()
        for number, stage in enumerate(stages):

            def report(history: History, total: int, name: str = stage.name, earlier: int = earlier) -> None:
                self.bars.steps(name, history, total)
                if record is not None:
                    record.step(history, total, earlier)

            is_first = not number or stages[number - 1].material != "answers"
            examples = self._examples(stage, material) if is_first else self._rewritten(stage, student, kept)
            held_out = [material.development] if stage.plan.validate_every else []
            stamp = {**self.identity, "examples": examples.digest()}
            history = train(
                student, [examples], job.work / stage.name, stage.plan, stamp, held_out, vocabulary=kept, report=report
            )
            earlier += history.step
        return student, history

    def _rewritten(self, stage: Stage, student: Any, kept: list[int] | None) -> Examples:
        """Texts of the draft as it is now; a resumed job comes to the same draft and finds them."""
        assert self.prompts is not None
        writer = export_draft(student, self.tokenizer, self.job.work / stage.name / "writer", kept)
        stamp = self.identity["target"] + fingerprint(writer)
        material, writers = self.job.work / "material", self._writers(writer)
        prompts, source = self.prompts.train, self.job.source
        return written(stage.name, prompts, source, self._writing(), writers, stamp, material, self.bars.show)

    def _examples(self, stage: Stage, material: Material) -> Examples:
        if stage.material == "answers":
            return material.train
        assert self.prompts is not None
        return plain_text(self.prompts, topic_only=stage.material == "mixed text")

    def _subject(self, material: Material) -> Subject:
        job = self.job
        plans = {stage.name: stage.plan.document() for stage in job.preset.stages}
        choices = {"preset": job.preset_name, "source": job.source, "wrong_only": job.wrong_only, "device": job.device}
        parts = {"train": material.train, "development": material.development, "validation": material.validation}
        tokenizer = tokenizer_fingerprint(job.target)
        return Subject(
            deployment=job.deployment,
            topic=job.topic,
            parent=job.parent,
            tags={"target": self.identity["target"], "tokenizer": tokenizer, "data_window": material.window},
            params={**choices, "parent": job.parent.label, **plans},
            datasets={context: (part.digest(), len(part)) for context, part in parts.items()},
            dataset="prompts" if job.traces is None else "traces",
            command=job.command,
            config=job.config,
        )

    def _result(self, material: Material, outcome: Outcome, version: Version | None) -> Result:
        return Result(
            topic=self.job.topic,
            parent=self.job.parent.label,
            folder=str(outcome.folder if version is None else version.folder),
            version=None if version is None else version.label,
            run=None if version is None else version.run_id,
            window=material.window,
            steps=outcome.history.step,
            now=outcome.now.document(),
            before=outcome.before.document(),
        )
