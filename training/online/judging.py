"""The gate looks at the candidate that waits for it; may be repeated at any time."""

from dataclasses import replace

from decoding.load import load_draft
from decoding.model import LanguageModel
from registry.aliases import AliasMoved
from registry.version import Version
from training.gate import Outcome
from training.online.control import control_for, drop_control
from training.online.publish import said
from training.online.subject import Subject
from training.online.trial import SLOTS, Trial, hold_trial, longest


def judge_pending(subject: Subject) -> bool:
    """Judge the pending candidate, if there is one, against the champion of the moment; whether it was promoted.

    Undecided, it stays pending: more held-out traces may tell.
    """
    state = subject.desk.state
    pending = state.pending
    if pending is None:
        return False
    champion, candidate = subject.book.champion, subject.book.version(pending.version)
    if candidate is None or candidate.version == champion.version:
        if candidate is not None:
            subject.book.settle(candidate)
        subject.desk.keep(replace(state, pending=None))
        return candidate is not None
    seen = subject.count(pending.after)
    trial = _trial(subject, champion, candidate)
    outcome = Outcome.UNDECIDED
    if trial is not None:
        outcome = trial.verdict.outcome
        subject.say(f"{candidate.label} {said(outcome)}: {trial.verdict.reason}")
        try:
            subject.book.report(candidate, champion, trial, subject.setting.learning.promote == "auto")
        except AliasMoved as error:
            subject.say(f"{error.what}; looking again later")
            outcome = Outcome.UNDECIDED
    kept = replace(pending, seen=seen) if outcome is Outcome.UNDECIDED else None
    if kept is None:
        drop_control(subject)
    subject.desk.keep(replace(state, pending=kept))
    return outcome is Outcome.PROMOTED and subject.setting.learning.promote == "auto"


def _trial(subject: Subject, champion: Version, candidate: Version) -> Trial | None:
    """None where nothing is held out yet. Who beats the champion meets the control, too."""
    pending = subject.desk.state.pending
    assert pending is not None
    held_out = subject.held_out(pending.after)
    if not held_out:
        return None
    room, setting = longest(held_out), subject.setting
    before, after = (load_draft(version.folder, SLOTS, room) for version in (champion, candidate))

    def control() -> LanguageModel | None:
        folder = control_for(subject, candidate) if setting.learning.control else None
        return None if folder is None else load_draft(folder, SLOTS, room)

    return hold_trial(before, after, held_out, setting.length, setting.rule, setting.between, control)
