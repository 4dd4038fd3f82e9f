"""Ready-made ways to train a draft."""

from dataclasses import dataclass, replace
from typing import Literal

from training.distillation.plan import Plan

Material = Literal["all text", "mixed text", "answers"]


@dataclass(frozen=True)
class Stage:
    """One training among several.

    Attributes:
        material: ``all text``: prompts and responses of the data as they stand, of every topic;
            ``mixed text``: the topic's and as many others; ``answers``: texts with the target's laws.
    """

    name: str
    material: Material
    plan: Plan

    def in_rounds(self, rounds: int) -> list["Stage"]:
        """The same steps in as many trainings, each with texts of its own; the learning rate goes on falling."""
        if rounds == 1 or self.material != "answers":
            return [self]
        plan = self.plan
        return [
            replace(
                self,
                name=f"{self.name}-{number + 1}",
                plan=replace(
                    plan,
                    epochs=plan.epochs / rounds,
                    steps=None if plan.steps is None else -(-plan.steps // rounds),
                    learning_rate=plan.learning_rate * (1 - number / rounds),
                    warmup_kl=plan.warmup_kl if number == 0 else 0.0,
                    seed=plan.seed + number,
                ),
            )
            for number in range(rounds)
        ]


@dataclass(frozen=True)
class Preset:
    """Stages in order; ``fresh`` ones begin with random weights in the parent's shape, others with the parent's."""

    stages: tuple[Stage, ...]
    fresh: bool = False

    @property
    def needs_text(self) -> bool:
        """Whether prompts without responses are too little."""
        return any(stage.material != "answers" for stage in self.stages)

    def with_last(self, **changes: object) -> "Preset":
        """Other settings for the last stage; those that are None stay."""
        given = {name: value for name, value in changes.items() if value is not None}
        last = self.stages[-1]
        plan = replace(last.plan, **given)  # type: ignore[arg-type]
        return replace(self, stages=(*self.stages[:-1], replace(last, plan=plan)))

    def quick(self, steps: int = 24) -> "Preset":
        """The same in ``steps`` steps a stage."""
        short = [
            replace(stage, plan=replace(stage.plan, steps=steps, validate_every=6 if stage.plan.validate_every else 0))
            for stage in self.stages
        ]
        return replace(self, stages=tuple(short))


# With one-hot laws forward KL is cross-entropy with the text.
_NEXT_TOKEN = Plan(loss="forward_kl", argmax_weight=0.0, warmup_kl=0.0, learning_rate=3e-3, epochs=1.0)
_ALIGN = Plan(learning_rate=7e-4, epochs=2.5, validate_every=50, patience=6, coverage=0.995)

PRESETS = {
    # Continue from a trained draft on what the target says (learning.md: defaults 2, 3 and 5).
    "topic": Preset((Stage("align", "answers", _ALIGN),)),
    # The same for a draft that knows the topic already, which larger steps only make forget.
    "again": Preset((Stage("align", "answers", replace(_ALIGN, learning_rate=2e-4)),)),
    # FastDraft (Zafrir et al. 2024): pre-train, continue on a mix with the domain, align on text that the target
    # wrote. Its 10 billion tokens are whatever --data holds here, its third stage has the target's laws besides.
    "fastdraft": Preset(
        (
            Stage("pretrain", "all text", _NEXT_TOKEN),
            Stage("continue", "mixed text", replace(_NEXT_TOKEN, learning_rate=1.5e-3)),
            Stage("align", "answers", replace(_ALIGN, learning_rate=1.5e-3)),
        ),
        fresh=True,
    ),
}
