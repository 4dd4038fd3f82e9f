"""What one update learns from, and how it is taught."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decoding.trace import SpeculationTrace
from drafts.learning import LearningSection
from training.distillation.examples import Examples, from_traces
from training.distillation.plan import Plan
from training.distillation.trainer import History, Report, train

WRONG_WEIGHT = 2.0
_GREEDY_ARGMAX = 0.2  # weight of cross-entropy with the argmax where all traffic is greedy
_SAVE_EVERY = 10  # steps; what a kill repeats


def compose(
    fresh: Sequence[SpeculationTrace],
    older: Sequence[SpeculationTrace],
    others: Sequence[SpeculationTrace],
    replay_share: float,
    seed: int,
) -> list[SpeculationTrace]:
    """All of ``fresh``, and so many older ones that they make up ``replay_share`` of the whole.

    Half of those are of the topic, half of other topics, as far as there are so many; where one half runs short, the
    other fills up.
    """
    wanted = round(len(fresh) * replay_share / (1 - replay_share))
    own = min(len(older), max(wanted // 2, wanted - len(others)))
    foreign = min(len(others), wanted - own)
    draw = random.Random(seed)
    return [*fresh, *draw.sample(list(older), own), *draw.sample(list(others), foreign)]


def examples_of(traces: Sequence[SpeculationTrace]) -> Examples:
    """All positions, those where a proposal was refused counting twice."""
    return from_traces(traces, wrong_weight=WRONG_WEIGHT)


def greedy_share(traces: Sequence[SpeculationTrace]) -> float:
    """Share of the answers that were greedy; they are what cross-entropy with the argmax is for."""
    return sum(trace.sampling.is_greedy for trace in traces) / max(1, len(traces))


def plan_of(settings: LearningSection, greedy: float, seed: int) -> Plan:
    """How an update is trained.

    Args:
        greedy: share of the traffic at temperature 0.
    """
    return Plan(
        loss=settings.loss,
        argmax_weight=_GREEDY_ARGMAX * greedy,
        learning_rate=settings.learning_rate,
        steps=settings.steps,
        ema=settings.ema,
        seed=seed,
        save_every=_SAVE_EVERY,
    )


def teach(
    student: Any, examples: Examples, plan: Plan, folder: Path, stamp: Mapping[str, str], report: Report | None = None
) -> History:
    """Train ``student`` in place; it ends with the averaged weights. Resumes what ``folder`` holds of this very lesson.

    Raises:
        CorpusError: no trace has an answer.
    """
    return train(student, [examples], folder, plan, {**stamp, "examples": examples.digest()}, report=report)
