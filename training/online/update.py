"""One topic's updates: from the log to a lesson, a candidate, a version, a verdict; resumable after a kill anywhere.

::

    begin     job and examples on the desk               killed before: nothing has happened
    make      checkpoints, then the next version         killed: goes on to the same losses, or finds its version
    keep      the cursor moves behind the job's traces   only now: no trace is lost, no version made twice
    judge     the gate                                   killed: looked at again
"""

import uuid
from dataclasses import replace

from decoding.trace_reader import Cursor
from training.online.judging import judge_pending
from training.online.learner import WINDOWS
from training.online.lesson import compose, examples_of, greedy_share
from training.online.making import make
from training.online.publish import LEARNED
from training.online.state import Job, Pending, State
from training.online.subject import Subject

_LOOKS = 4  # at an undecided candidate, for every ``every_requests`` requests


def cycle(subject: Subject) -> bool:
    """Do what is due; whether something was promoted.

    Raises:
        Stopped: somebody asked for the end.
        RegistryError: the registry is gone; what was done stays done.
    """
    promoted = False
    if (job := subject.desk.job) is not None:
        subject.setting.between()
        _work(subject, job)
        promoted |= judge_pending(subject)
    if _is_due(subject):
        subject.setting.between()
        if _unseen(subject):
            promoted |= judge_pending(subject)  # the last chance of a candidate that waits
        if (job := _begin(subject)) is not None:
            _work(subject, job)
            promoted |= judge_pending(subject)
    elif _unseen(subject) >= max(1, subject.setting.learning.every_requests // _LOOKS):
        promoted |= judge_pending(subject)
    return promoted


def _is_due(subject: Subject) -> bool:
    return subject.count(subject.desk.state.seen) >= subject.setting.learning.every_requests


def _unseen(subject: Subject) -> int:
    """Traces since the gate looked at the candidate that waits; 0 where none does."""
    pending = subject.desk.state.pending
    return 0 if pending is None else subject.count(pending.after) - pending.seen


def _begin(subject: Subject) -> Job | None:
    """Put the next job on the desk; None where there is nothing to learn from.

    It learns from everything that the champion has not, as far as that is recent: a candidate that was not promoted
    takes nothing with it.
    """
    log, learning, champion = subject.setting.log, subject.setting.learning, subject.book.champion
    until = log.end()
    learned = Cursor.parse(champion.tags.get(LEARNED, str(Cursor())))
    after = log.start_of_newest(subject.topics, WINDOWS * learning.every_requests, learned, until)
    fresh = subject.lesson(subject.topics, after, until)
    if not fresh:
        subject.desk.keep(replace(subject.desk.state, seen=until))
        return None
    older = subject.lesson(subject.topics, log.start_of_newest(subject.topics, len(fresh), Cursor(), after), after)
    others = subject.lesson(subject.others, log.start_of_newest(subject.others, len(fresh), Cursor(), until), until)
    seed = until.segment % (1 << 31)
    traces = compose(fresh, older, others, learning.replay_share, seed)
    replayed = len(traces) - len(fresh)
    job = Job(
        name=uuid.uuid4().hex,
        parent=champion.version,
        after=after,
        until=until,
        seed=seed,
        fresh=len(fresh),
        replayed=replayed,
        greedy_share=greedy_share(fresh),
        window=f"{len(fresh):,} traces" + (f" and {replayed:,} replayed ones" if replayed else ""),
    )
    subject.desk.begin(job, examples_of(traces))
    return job


def _work(subject: Subject, job: Job) -> None:
    """Do what is left of a job."""
    state = subject.desk.state
    if state.job != job.name:
        version = subject.book.came_of(job) or make(subject, job)
        pending = state.pending
        if version is not None:
            if pending is not None:
                subject.book.supersede(pending.version, version)
            pending = Pending(version.version, job.after)
        subject.desk.keep(State(job.until, pending, job.name))
    subject.desk.clear()
