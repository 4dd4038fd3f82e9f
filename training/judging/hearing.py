"""A candidate before the gate by hand: the test of `polydraft learn` on requests that somebody names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from configs.errors import CorpusError
from decoding.checkpoint import read_config
from decoding.costs import StepCosts, measure_costs
from decoding.load import load_draft, load_model
from decoding.model import LanguageModel
from decoding.trace import SpeculationTrace
from training.gate import GateRule, Outcome
from training.online.trial import LENGTH, RUNS, SLOTS, Trial, hold_trial, longest

_SHAPE = ("hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads", "head_dim")


@dataclass(frozen=True)
class Hearing:
    """Who is compared, all by their folders.

    Attributes:
        champion: what the candidate must beat.
        control: what it must not be behind, if there is any.
        target: asked for nothing but its speed, and only where the drafts have different shapes.
        max_length: tokens that caches hold at least.
        length: tokens of a proposal.
    """

    champion: Path
    candidate: Path
    target: Path
    max_length: int
    control: Path | None = None
    length: int = LENGTH
    rule: GateRule | None = None

    def judge(self, looks: Iterable[Sequence[SpeculationTrace]]) -> Trial:
        """Look until the gate has decided.

        Args:
            looks: held-out requests, each time the same ones and further ones behind them.

        Raises:
            CorpusError: fewer requests than the gate wants to see before it says anything.
        """
        least, seen, trial = (self.rule or GateRule()).burn_in, 0, None
        for held_out in looks:
            seen = len(held_out)
            if seen >= least:
                trial = self._trial(held_out)
                if trial.verdict.outcome is not Outcome.UNDECIDED:
                    break
        if trial is None:
            raise CorpusError(
                f"only {seen} held-out requests; the gate's first look is after {least}",
                do="serve more requests with traces.enabled: true, or pass --data with more validation prompts",
                facts=("one prompt in five is held out; of a distilled version's traces, one in ten",),
            )
        return trial

    @property
    def is_one_shape(self) -> bool:
        """Whether target runs alone tell the drafts' costs apart; how many tokens a head covers is not looked at."""
        return len({_shape(folder) for folder in self._folders}) == 1

    def _trial(self, held_out: Sequence[SpeculationTrace]) -> Trial:
        room = max(self.max_length, longest(held_out))

        def loaded(folder: Path) -> LanguageModel:
            return load_draft(folder, SLOTS, room)

        def control() -> LanguageModel | None:
            return None if self.control is None else loaded(self.control)

        costs = RUNS, RUNS, RUNS
        if not self.is_one_shape:
            costs = self._measured
        before, after = loaded(self.champion), loaded(self.candidate)
        return hold_trial(before, after, held_out, self.length, self.rule, control=control, costs=costs)

    @property
    def _folders(self) -> list[Path]:
        return [self.champion, self.candidate, self.control or self.candidate]

    @cached_property
    def _measured(self) -> tuple[StepCosts, StepCosts, StepCosts]:
        """Target runs are measured once and drafts once a shape, so that noise does not tell two alike apart."""
        target = load_model(self.target, SLOTS, self.max_length)
        by_shape: dict[object, StepCosts] = {}
        for folder in self._folders:
            if _shape(folder) not in by_shape:
                by_shape[_shape(folder)], _ = measure_costs(target, load_draft(folder, SLOTS, self.max_length))
        runs = next(iter(by_shape.values())).target
        first, second, third = (StepCosts(runs, by_shape[_shape(folder)].draft) for folder in self._folders)
        return first, second, third


def _shape(folder: Path) -> tuple[int, ...]:
    config = read_config(folder)
    return tuple(getattr(config, name) for name in _SHAPE)
