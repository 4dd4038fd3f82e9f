"""The control at the gate: what offline distillation makes of the same traces (`learning.md`, section 4).

Many small updates, each from the last, can wander off while each beats the one before. So a candidate that beats the
champion is also compared with a draft that had none of them: the version with which online learning began, distilled
once, the way `polydraft distill --traces` does, on all that the candidate's line has learned from and as many steps.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from decoding.output_vocabulary import read_output_vocabulary
from decoding.trace import SpeculationTrace
from decoding.trace_reader import Cursor
from registry.version import Version
from training.distillation.examples import from_traces
from training.distillation.export import export_draft, load_student
from training.distillation.plan import Plan
from training.distillation.presets import PRESETS
from training.distillation.trainer import History, Report
from training.online.learner import WINDOWS
from training.online.lesson import teach
from training.online.publish import LEARNED, ONLINE
from training.online.subject import Subject

MOST_LESSONS = 8  # of whose steps and traces the control gets; older ones are hardly in the champion any more


def control_for(subject: Subject, candidate: Version) -> Path | None:
    """The control's folder, made once for every candidate; None where the version it would start from is gone.

    Raises:
        Stopped: between two steps; the next call goes on from the last checkpoint.
    """
    place = subject.desk.folder / "control"
    made = place / f"v{candidate.version}"
    if made.is_dir():
        return made
    root, lessons = root_of(subject, candidate)
    if root is None:
        return None
    subject.say(f"the control learns from {root.label} what {candidate.label} has learned in {lessons} lessons")
    student = load_student(root.folder)
    examples = from_traces(_traces(subject, root, candidate, lessons), wrong_weight=1.0)
    stamp = {"candidate": candidate.label, "root": root.label}
    teach(student, examples, _plan(subject, lessons), place / "training", stamp, _pausing(subject))
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(subject.setting.tokenizer)
    return export_draft(student, tokenizer, made, read_output_vocabulary(root.folder, student.config.vocab_size))


def drop_control(subject: Subject) -> None:
    """The gate has decided."""
    shutil.rmtree(subject.desk.folder / "control", ignore_errors=True)


def root_of(subject: Subject, candidate: Version) -> tuple[Version | None, int]:
    """The version with which online learning began, `MOST_LESSONS` back at most, and the lessons since."""
    version: Version | None = candidate
    lessons = 0
    while version is not None and version.tags.get("job") == ONLINE and lessons < MOST_LESSONS:
        version = subject.book.version(int(version.tags["parent_version"]))
        lessons += 1
    return version, lessons


def _traces(subject: Subject, root: Version, candidate: Version, lessons: int) -> list[SpeculationTrace]:
    learning, log = subject.setting.learning, subject.setting.log
    until = Cursor.parse(candidate.tags[LEARNED])
    learned = Cursor.parse(root.tags.get(LEARNED, str(Cursor())))
    most = WINDOWS * learning.every_requests * lessons
    return subject.lesson(subject.topics, log.start_of_newest(subject.topics, most, learned, until), until)


def _plan(subject: Subject, lessons: int) -> Plan:
    (stage,) = PRESETS["again"].stages
    steps = lessons * subject.setting.learning.steps
    return replace(stage.plan, steps=steps, validate_every=0, patience=0, coverage=1.0)


def _pausing(subject: Subject) -> Report:
    def report(_: History, __: int) -> None:
        subject.setting.between()

    return report
