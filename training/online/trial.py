"""A candidate before the gate: champion and candidate replayed, exactly, on the same held-out traces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from decoding.costs import StepCosts
from decoding.model import LanguageModel
from decoding.trace import SpeculationTrace
from training.gate import Contender, GateRule, Outcome, Verdict, judge_replays
from training.replay import Acceptance, acceptances, mean_acceptance, tokens_per_target_run

# Champion and candidate have one shape and propose alike, so that their costs differ by target runs alone.
RUNS = StepCosts(target={1: 1.0}, draft={1: 0.0})
LENGTH = 4  # tokens of a proposal, where the deployment leaves it open
SLOTS = 16  # a replaying model's cache needs no more
_AT_ONCE = 16  # traces between two looks at the load


@dataclass(frozen=True, slots=True)
class Replayed:
    """How one draft fares on the held-out traces."""

    alpha: float
    tokens_per_target_run: float


@dataclass(frozen=True, slots=True)
class Trial:
    """The verdict, and the drafts' figures on all held-out traces, those behind the decision included."""

    verdict: Verdict
    champion: Replayed
    candidate: Replayed
    control: Replayed | None = None


def hold_trial(
    champion: LanguageModel,
    candidate: LanguageModel,
    held_out: Sequence[SpeculationTrace],
    length: int = LENGTH,
    rule: GateRule | None = None,
    pause: Callable[[], None] = lambda: None,
    control: Callable[[], LanguageModel | None] = lambda: None,
    costs: tuple[StepCosts, StepCosts, StepCosts] = (RUNS, RUNS, RUNS),
) -> Trial:
    """Replay both and judge.

    Args:
        held_out: in the order in which they were recorded.
        control: makes the draft that a candidate which beats the champion must not be behind; None if there is none.
        pause: called every few traces; it may take its time.
        costs: of champion, candidate and control; target runs alone where all have one shape.

    Raises:
        ValueError: there are no traces.
    """
    before, after = _replay(champion, held_out, pause), _replay(candidate, held_out, pause)
    contenders = Contender(before, costs[0]), Contender(after, costs[1])
    trial = Trial(judge_replays(*contenders, length, rule=rule), _figures(before, length), _figures(after, length))
    if trial.verdict.outcome is not Outcome.PROMOTED or (third := control()) is None:
        return trial
    beside = _replay(third, held_out, pause)
    verdict = judge_replays(*contenders, length, Contender(beside, costs[2]), rule)
    return replace(trial, verdict=verdict, control=_figures(beside, length))


def _figures(found: list[Acceptance], length: int) -> Replayed:
    return Replayed(mean_acceptance(found), float(tokens_per_target_run(found, length)[-1]))


def _replay(model: LanguageModel, traces: Sequence[SpeculationTrace], pause: Callable[[], None]) -> list[Acceptance]:
    found: list[Acceptance] = []
    for start in range(0, len(traces), _AT_ONCE):
        pause()
        found += acceptances(model, traces[start : start + _AT_ONCE])
    return found


def longest(traces: Sequence[SpeculationTrace]) -> int:
    """Tokens that a cache must hold to replay ``traces``."""
    return max((len(trace.token_ids) for trace in traces), default=1)
