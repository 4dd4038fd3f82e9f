"""The gate: a candidate against the champion, request by request, on the same held-out text."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from training.gate.rule import GateRule
from training.gate.sequences import Bounds, confidence_sequence


class Outcome(StrEnum):
    """What becomes of a candidate."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    UNDECIDED = "undecided"  # more requests may tell


@dataclass(frozen=True, slots=True)
class GateSequence:
    """What the gate saw after each request up to its decision, float64 [requests]; for the picture.

    Attributes:
        control: running mean advantage over the control, where there is one.
    """

    difference: Tensor
    lower: Tensor
    upper: Tensor
    delta: Tensor
    control: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and its grounds. Costs are in target runs over one row for each token.

    Attributes:
        difference: mean cost of the champion less that of the candidate; positive where the candidate is cheaper.
        lower, upper: its bounds when the decision fell, each at level 1 - alpha and valid at any time.
        delta: what the lower bound had to pass.
        requests: after how many the decision fell.
        reason: a sentence.
    """

    outcome: Outcome
    difference: float
    lower: float
    upper: float
    delta: float
    requests: int
    reason: str
    sequence: GateSequence


@dataclass(frozen=True, slots=True)
class Decisions:
    """Where the gate would promote, and where it would give up, after each request, bool [..., t]."""

    promote: Tensor
    refuse: Tensor
    behind_control: Tensor


def judge(
    champion: Tensor,
    candidate: Tensor,
    num_tokens: Tensor,
    control: Tensor | None = None,
    rule: GateRule | None = None,
) -> Verdict:
    """Compare a candidate with the champion, in the order in which requests came, up to the first decision.

    Call it again when more requests are known: what was decided stays decided. The candidate must not have learned
    from these requests, and one request must not lean on another (a session counts as one).

    Args:
        champion, candidate: replayed cost of each request, [requests].
        num_tokens: of each answer, [requests].
        control: cost with an offline-distilled draft on the same data. The candidate must not be behind it by more
            than the margin: while its mean is, it waits, and where its upper bound is, it is refused.

    Raises:
        ValueError: no requests, different numbers of them, or an answer without tokens.
    """
    rule = rule or GateRule()
    _check(champion, candidate, num_tokens, control)
    cut = slice(0, rule.most_requests)
    tokens = num_tokens.double()[cut]
    before, after = champion.double()[cut] / tokens, candidate.double()[cut] / tokens
    bounds, delta = confidence_sequence(before - after, rule), rule.delta(before)
    beside = None if control is None else confidence_sequence(control.double()[cut] / tokens - after, rule)
    decisions = decide(bounds, delta, rule, beside)
    decided = (decisions.promote | decisions.refuse).nonzero()
    last = int(decided[0]) if len(decided) else len(tokens) - 1
    outcome = Outcome.UNDECIDED
    if len(decided):
        outcome = Outcome.PROMOTED if decisions.promote[last] else Outcome.REFUSED
    seen = slice(0, last + 1)
    sequence = GateSequence(
        bounds.mean[seen],
        bounds.lower[seen],
        bounds.upper[seen],
        delta[seen],
        None if beside is None else beside.mean[seen],
    )
    return Verdict(
        outcome,
        float(bounds.mean[last]),
        float(bounds.lower[last]),
        float(bounds.upper[last]),
        float(delta[last]),
        last + 1,
        _reason(outcome, sequence, float(before[seen].mean()), bool(decisions.behind_control[last]), rule),
        sequence,
    )


def decide(bounds: Bounds, delta: Tensor, rule: GateRule, control: Bounds | None = None) -> Decisions:
    """Every point at which the gate would promote or refuse; the first one counts.

    Args:
        delta: of `GateRule.delta`, [..., t].
        control: bounds on the advantage over the control.
    """
    promote = bounds.lower > delta
    behind_control = torch.zeros_like(promote)
    if control is not None:
        promote &= control.mean >= -delta
        behind_control = control.upper < -delta
    refuse = (bounds.upper < delta) | behind_control
    refuse[..., rule.most_requests - 1 :] = True
    return Decisions(promote & ~behind_control, refuse & ~promote, behind_control)


def _check(champion: Tensor, candidate: Tensor, num_tokens: Tensor, control: Tensor | None) -> None:
    sizes = {len(each) for each in (champion, candidate, num_tokens, control) if each is not None}
    if len(sizes) != 1 or not len(num_tokens):
        raise ValueError(f"costs and tokens of the same requests are compared, at least one; here are {sorted(sizes)}")
    if not bool((num_tokens > 0).all()):
        raise ValueError("an answer without tokens has no cost a token")


def _reason(outcome: Outcome, sequence: GateSequence, champion: float, behind_control: bool, rule: GateRule) -> str:
    """One sentence for people, and for the tag of a version."""
    requests = len(sequence.difference)
    difference, lower, upper = (
        f"{100 * float(each[-1]) / champion:+.1f} %" for each in (sequence.difference, sequence.lower, sequence.upper)
    )
    saving = f"saves {difference} of the champion's cost over {requests} requests (between {lower} and {upper})"
    margin = f"{100 * rule.margin:g} %"
    if requests < rule.burn_in:
        return f"{requests} requests are too few; the first look is after {rule.burn_in}"
    if outcome is Outcome.PROMOTED:
        return f"{saving}, which is more than {margin}"
    if behind_control:
        return f"is behind the offline-distilled control on the same {requests} requests"
    if outcome is Outcome.UNDECIDED:
        return f"{saving}; more requests may tell whether that is more than {margin}"
    if float(sequence.upper[-1]) < float(sequence.delta[-1]):
        return f"{saving}: less than {margin}"
    if sequence.control is not None and float(sequence.lower[-1]) > float(sequence.delta[-1]):
        return f"{saving}, but stayed behind the offline-distilled control for {requests} requests"
    return f"{saving}: not shown to be more than {margin} within {requests} requests"
