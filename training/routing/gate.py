"""Is a new router better than the one that serves? Both on the same held-out prompts, compared prompt by prompt.

What counts is what answers cost where that was measured, else the Brier score of "which topic, or none": it is least
for probabilities that are true, so nothing is gained by being too sure. A router that is better there must not give
more prompts a wrong draft, nor lose what the one before it could do on the prompts that *that* one was measured on:
held-out prompts come from the same data as the training prompts, and are as wrong as those if the labels are.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from router.classifier import Probabilities
from router.evaluation import Marks
from training.routing.bootstrap import Difference, paired
from training.routing.measure import Measured, Sample

MARGIN = 0.005  # what counts as better: this share of what the serving router costs (learning.md, section 4)
MOST_LOST = 0.005  # of prompts: how many more may get a wrong draft
MOST_DOUBTED = 0.05  # how far the serving router may fall behind its own figures before the labels are doubted
_MOST_BRIER_LOST = 0.05  # of the serving router's, on its own prompts


class Outcome(StrEnum):
    """What became of the comparison."""

    BETTER = "better"
    NOT_BETTER = "not better"
    WORSE = "worse"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True)
class Verdict:
    """The outcome and its grounds.

    Attributes:
        measure: ``runs`` for plain target runs an answer token, or ``brier``.
        serving, candidate: means of the measure.
        difference: serving less candidate, so positive where the candidate is better.
        right: how much larger the share of prompts with the right draft is.
        reason: a sentence.
    """

    outcome: Outcome
    measure: str
    serving: float
    candidate: float
    difference: Difference
    right: Difference
    reason: str


@dataclass(frozen=True)
class Side:
    """One of the two routers: on the new prompts and, if there are some, on those of the serving version.

    Attributes:
        label: ``router@v3``.
        accuracy: share of topics right when it was made, if that is known.
    """

    label: str
    now: Measured
    before: Measured | None = None
    accuracy: float | None = None


def judge(serving: Side, candidate: Side, sample: Sample) -> Verdict:
    """Compare a candidate with what serves, on ``sample`` (``now``) and on the serving version's own prompts."""
    costs = _costs(serving.now, candidate.now, sample)
    difference = paired(costs.serving, costs.candidate, costs.weights)
    right = _right(serving.now.marks, candidate.now.marks)
    total = float(costs.weights.sum())
    before, after = float(costs.serving.sum()) / total, float(costs.candidate.sum()) / total
    outcome, reason = _decide(serving, candidate, costs.measure, before, difference, right)
    return Verdict(outcome, costs.measure, before, after, difference, right, reason)


@dataclass(frozen=True)
class _Costs:
    """What is compared: of each prompt, with the serving router and with the candidate; weights make it a mean."""

    measure: str
    serving: Probabilities
    candidate: Probabilities
    weights: Probabilities


def _costs(serving: Measured, candidate: Measured, sample: Sample) -> _Costs:
    if sample.answered is None:
        return _Costs("brier", serving.marks.brier, candidate.marks.brier, np.ones(len(sample.groups)))
    ours, theirs = (sample.answered.chosen(side.decisions) for side in (serving, candidate))
    known = ~np.isnan(ours) & ~np.isnan(theirs) & (sample.answered.tokens > 0)
    return _Costs("runs", ours[known], theirs[known], sample.answered.tokens[known])


def _decide(
    serving: Side, candidate: Side, measure: str, before: float, difference: Difference, right: Difference
) -> tuple[Outcome, str]:
    if measure == "brier" and (doubt := _doubt(serving)):
        return Outcome.DOUBTFUL, doubt
    said = _said(measure, before, difference)
    if difference.upper < 0:
        return Outcome.WORSE, f"{said}: worse than {serving.label}"
    if measure == "brier" and _loses(right):
        return Outcome.WORSE, f"gives more prompts a wrong draft than {serving.label} ({_points(right)})"
    if serving.before is not None and candidate.before is not None:
        if _loses(known := _right(serving.before.marks, candidate.before.marks)):
            return Outcome.WORSE, f"loses on the prompts that {serving.label} was measured on ({_points(known)})"
        brier = paired(serving.before.marks.brier, candidate.before.marks.brier)
        if brier.upper < 0 and -brier.mean > _MOST_BRIER_LOST * serving.before.brier:
            what = f"(Brier score {candidate.before.brier:.4f} for {serving.before.brier:.4f})"
            return Outcome.WORSE, f"is less sure of what is true on the prompts of {serving.label} {what}"
    if difference.lower > 0 and difference.mean > MARGIN * before:
        return Outcome.BETTER, f"{said}, which is more than {100 * MARGIN:g} %"
    return Outcome.NOT_BETTER, f"{said}: not shown to be more than {100 * MARGIN:g} %"


def _doubt(serving: Side) -> str:
    """Why the labels cannot be believed: the serving router was right, and now all of a sudden it is not."""
    report = serving.now.report
    if serving.accuracy is None or report is None:
        return ""
    if report.topic_accuracy >= serving.accuracy - MOST_DOUBTED:
        return ""
    return (
        f"{serving.label} gets {100 * report.topic_accuracy:.1f} % of these topics right, of its own "
        f"{100 * serving.accuracy:.1f} %: labels are wrong, or traffic is another"
    )


def _right(serving: Marks, candidate: Marks) -> Difference:
    return paired((~serving.right).astype(np.float64), (~candidate.right).astype(np.float64))


def _loses(right: Difference) -> bool:
    return right.upper < 0 or right.mean < -MOST_LOST


def _points(right: Difference) -> str:
    return f"{100 * right.mean:+.1f} points right, {100 * right.lower:.1f} to {100 * right.upper:.1f}"


def _said(measure: str, before: float, difference: Difference) -> str:
    share, lower, upper = (
        100 * each / max(before, 1e-12) for each in (difference.mean, difference.lower, difference.upper)
    )
    what = "target runs" if measure == "runs" else "the Brier score"
    between = f"over {difference.count} held-out prompts (between {lower:+.1f} and {upper:+.1f} %)"
    return f"saves {share:+.1f} % of {what} {between}"
