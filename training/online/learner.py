"""One topic's learner in memory: no files that stay, no registry. `training.online.update` is the lasting one."""

import copy
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers.utils import logging as transformers_logging

from decoding.load import load_draft
from decoding.model import LanguageModel
from decoding.output_vocabulary import write_output_vocabulary
from decoding.trace import SpeculationTrace
from drafts.learning import LearningSection
from training.checkpoint import Weights, named_weights, set_weights
from training.distillation.trainer import Report
from training.gate import GateRule
from training.online.lesson import compose, examples_of, greedy_share, plan_of, teach
from training.online.split import is_held_out
from training.online.temper import fitted_temperature, fold_temperature
from training.online.trial import LENGTH, SLOTS, Trial, hold_trial, longest

WINDOWS = 4  # so many times ``every_requests`` traces that the champion has not learned from are remembered
_OLDER = 4  # and so many times as many of those that it has


class OnlineLearner:
    """Sees the traces of a stream, and from time to time makes a candidate from the champion.

    A trace that the champion has learned from is replayed among others, but a candidate that was not promoted takes
    nothing with it: the next one learns from its traces again.

    Args:
        student: the champion, a transformers causal language model in float32; it is changed by `promote` alone.
        settings: `max_utilisation`, ``promote`` and ``enabled`` are somebody else's business.
        others: traces of other topics, to be replayed.
        vocabulary: all that the draft may emit; None is everything.
    """

    def __init__(
        self,
        student: Any,
        settings: LearningSection,
        others: Sequence[SpeculationTrace] = (),
        vocabulary: Sequence[int] | None = None,
        seed: int = 1,
    ):
        self._student, self._settings, self._vocabulary, self._seed = student, settings, vocabulary, seed
        most = WINDOWS * settings.every_requests
        self._others = [trace for trace in others if not is_held_out(trace, settings.heldout_share)]
        self._fresh: deque[SpeculationTrace] = deque(maxlen=most)
        self._older: deque[SpeculationTrace] = deque(maxlen=_OLDER * most)
        self._held_out: list[SpeculationTrace] = []
        self._new = self._updates = 0

    @property
    def held_out(self) -> list[SpeculationTrace]:
        """What the gate may look at: held-out traces since the last promotion."""
        return list(self._held_out)

    @property
    def due(self) -> bool:
        """Whether there have been enough requests since the last update, and something to learn from."""
        return self._new >= self._settings.every_requests and bool(self._fresh)

    def observe(self, trace: SpeculationTrace) -> None:
        """Take in one trace of the topic."""
        self._new += 1
        (self._held_out if is_held_out(trace, self._settings.heldout_share) else self._fresh).append(trace)

    def update(self, report: Report | None = None) -> Weights:
        """Train from the champion, fit a temperature; returns the weights of the candidate.

        The champion stays as it is.
        """
        self._new, self._updates = 0, self._updates + 1
        seed = self._seed * 1_000_003 + self._updates
        traces = compose(self._fresh, self._older, self._others, self._settings.replay_share, seed)
        student = copy.deepcopy(self._student)
        plan = plan_of(self._settings, greedy_share(self._fresh), seed)
        with TemporaryDirectory() as folder:
            teach(student, examples_of(traces), plan, Path(folder), {}, report)
        lesson = list(self._fresh)
        temperature = fitted_temperature(self._runnable(student, lesson), lesson, LENGTH)
        if temperature != 1.0:
            fold_temperature(student, temperature)
        return {name: tensor.clone() for name, tensor in named_weights(student).items()}

    def judge(
        self,
        candidate: Weights,
        length: int = LENGTH,
        rule: GateRule | None = None,
        pause: Callable[[], None] = lambda: None,
    ) -> Trial:
        """Candidate against champion on the held-out traces since the last promotion.

        Raises:
            ValueError: there are none yet.
        """
        other = copy.deepcopy(self._student)
        set_weights(other, candidate)
        champion, challenger = (self._runnable(each, self._held_out) for each in (self._student, other))
        return hold_trial(champion, challenger, self._held_out, length, rule, pause)

    def promote(self, candidate: Weights) -> None:
        """Make it the champion; what it learned from is old now, and the gate begins anew."""
        set_weights(self._student, candidate)
        self._older.extend(self._fresh)
        self._fresh.clear()
        self._held_out.clear()

    def _runnable(self, student: Any, traces: Sequence[SpeculationTrace]) -> LanguageModel:
        """As it would be served, and with room for ``traces``."""
        transformers_logging.disable_progress_bar()
        with TemporaryDirectory() as folder:
            student.save_pretrained(folder)
            if self._vocabulary is not None:
                write_output_vocabulary(Path(folder), self._vocabulary)
            return load_draft(Path(folder), SLOTS, longest(traces))
