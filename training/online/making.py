"""From a job on the desk to a registered candidate."""

import math
from collections.abc import Mapping
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from decoding.load import load_draft
from decoding.output_vocabulary import read_output_vocabulary
from registry.figures import tags_of
from registry.names import CHALLENGER
from registry.provenance import revision
from registry.runs import Run
from registry.version import Version
from training.distillation.examples import from_traces
from training.distillation.export import export_draft, load_student
from training.distillation.measure import Figures, measure
from training.distillation.pictures import draw_loss
from training.distillation.plan import Plan
from training.distillation.trainer import History
from training.online.lesson import plan_of, teach
from training.online.publish import JOB, LEARNED, ONLINE, description
from training.online.state import Job
from training.online.subject import Subject
from training.online.temper import fitted_temperature, fold_temperature
from training.online.trial import SLOTS, longest

_LOG_EVERY = 10  # steps; a request to the registry takes tens of milliseconds


def make(subject: Subject, job: Job) -> Version | None:
    """Train and register, going on from what a killed process left; None where training came to nothing.

    Raises:
        Stopped: between two steps; the next call goes on from the last checkpoint.
    """
    transformers_logging.disable_progress_bar()
    parent = subject.book.version(job.parent)
    if parent is None:
        subject.say(f"v{job.parent} is gone; the update is given up")
        return None
    subject.say(f"{parent.label} learns from {job.window}")
    tags = {**subject.setting.tags, "topic": subject.book.topic, "job": ONLINE, "data_window": job.window}
    with subject.book.run_for(job, tags) as run:
        if job.run != run.run_id:
            _describe(subject, job, run)
            job = subject.desk.note_run(job, run.run_id)
        student, history = _train(subject, job, parent, run)
        if not all(map(math.isfinite, history.losses)):
            run.set_tags({"verdict": "failed", "verdict_reason": "the loss is not finite"})
            subject.say("the loss is not finite; nothing is registered")
            return None
        run.log_picture("loss_over_time", draw_loss(history))
        return _register(subject, job, parent, student, tags, run)


def _plan(subject: Subject, job: Job) -> Plan:
    return plan_of(subject.setting.learning, job.greedy_share, job.seed)


def _describe(subject: Subject, job: Job, run: Run) -> None:
    learning = subject.setting.learning.model_dump()
    run.log_params({"parent": f"v{job.parent}", **_plan(subject, job).document(), "learning": learning})
    places = {"after": str(job.after), "until": str(job.until)}
    run.log_dataset(
        f"traces-{subject.book.topic}",
        subject.desk.examples().digest(),
        "train",
        str(subject.setting.log.folder),
        fresh=job.fresh,
        replayed=job.replayed,
        **places,
    )
    if subject.setting.document is not None:
        run.log_document("config", subject.setting.document)


def _train(subject: Subject, job: Job, parent: Version, run: Run) -> tuple[Any, History]:
    student = load_student(parent.folder)

    def report(history: History, total: int) -> None:
        if history.step % _LOG_EVERY == 0 or history.step == total:
            run.log({"loss/train": history.losses[-1]}, step=history.step)
            subject.say(f"step {history.step}/{total}, loss {history.losses[-1]:.3f}")
        subject.setting.between()

    stamp = {"job": job.name, "parent": parent.tags.get("content", parent.label)}
    folder = subject.desk.job_folder / "training"
    history = teach(student, subject.desk.examples(), _plan(subject, job), folder, stamp, report)
    return student, history


def _register(subject: Subject, job: Job, parent: Version, student: Any, tags: Mapping[str, str], run: Run) -> Version:
    kept = read_output_vocabulary(parent.folder, student.config.vocab_size)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(subject.setting.tokenizer)
    folder = export_draft(student, tokenizer, subject.desk.job_folder / "draft", kept)
    lesson = subject.lesson(subject.topics, job.after, job.until)
    temperature = 1.0
    if lesson:
        model = load_draft(folder, SLOTS, longest(lesson))
        temperature = fitted_temperature(model, lesson, subject.setting.length)
    if temperature != 1.0:
        fold_temperature(student, temperature)
        folder = export_draft(student, tokenizer, subject.desk.job_folder / "draft", kept)
    figures = _figures(subject, job, student, kept, run)
    facts = {**tags, JOB: job.name, LEARNED: str(job.until), "draft_temperature": f"{temperature:.3f}"}
    if figures is not None:
        facts |= tags_of({"alpha": figures.alpha_t0, "alpha_t1": figures.alpha_t1}, figures.by_position_t0)
    if commit := revision():
        facts["git"] = commit
    version = subject.book.registry.register(
        subject.book.model,
        folder,
        facts,
        figures.metrics() if figures is not None else None,
        CHALLENGER,
        description=description(parent, job),
        parent_version=parent.version,
        run=run,
    )
    subject.say(f"registered {version.label} as challenger")
    return version


def _figures(subject: Subject, job: Job, student: Any, kept: tuple[int, ...] | None, run: Run) -> Figures | None:
    """On the held-out traces that there are now; None without any."""
    held_out = subject.held_out(job.after)
    if not held_out:
        return None
    examples = from_traces(held_out, wrong_weight=1.0)
    name, folder = f"traces-{subject.book.topic}-heldout", str(subject.setting.log.folder)
    run.log_dataset(name, examples.digest(), "gate", folder, records=len(held_out), after=str(job.after))
    return measure(student, [examples], kept)
