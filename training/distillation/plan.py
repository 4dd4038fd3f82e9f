"""How a distillation is run: one dataclass, checked where it is made."""

from dataclasses import asdict, dataclass, fields

from configs.errors import ConfigError
from training.losses import LOSSES, mixture

_AT_LEAST = {
    "learning_rate": 0.0,
    "tokens_per_batch": 1,
    "epochs": 0.0,
    "clip": 0.0,
    "save_every": 1,
    "validate_every": 0,
    "patience": 0,
}
_SHARES = ("argmax_weight", "warmup_kl", "warmup_lr", "ema", "coverage")


@dataclass(frozen=True)
class Plan:
    """One distillation: AdamW (0.9, 0.98) without weight decay, a linear decay of the learning rate to zero.

    Attributes:
        loss: a name of `training.losses.LOSSES`; ``jsd:0.1`` is jsd with another beta than 0.5.
        argmax_weight: share of the whole loss that is cross-entropy with the target's most probable token, for
            greedy traffic.
        warmup_kl: share of the steps that take forward KL in place of ``loss``: total variation has no gradient
            where the student sees nothing.
        warmup_lr: share of the steps over which the learning rate rises.
        epochs: passes over the examples, unless ``steps`` says how many steps.
        clip: largest norm of a gradient.
        ema: decay of the averaged weights that are validated and kept; 0 keeps the last ones.
        validate_every: steps; 0 measures nothing on the way.
        patience: validations without a better mean alpha before training stops; 0 never stops. With
            validations the best weights are kept, without them the last ones.
        coverage: share of the target's tokens that the head keeps (`vocabulary.output_vocabulary`); 1 keeps all.

    Raises:
        ConfigError: a value out of its range, or settings that contradict each other.
    """

    loss: str = "lk"
    argmax_weight: float = 0.2
    warmup_kl: float = 0.1
    warmup_lr: float = 0.05
    learning_rate: float = 7e-4
    tokens_per_batch: int = 2048
    epochs: float = 2.5
    steps: int | None = None
    clip: float = 1.0
    ema: float = 0.0
    seed: int = 1
    save_every: int = 50
    validate_every: int = 0
    patience: int = 0
    coverage: float = 1.0

    def __post_init__(self) -> None:
        try:
            mixture(self.loss)
        except ValueError:
            raise ConfigError(
                f"there is no loss {self.loss}", do=f"use one of {', '.join(LOSSES)}; jsd:0.1 for another beta than 0.5"
            ) from None
        for name, least in _AT_LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is a share, 0 to 1")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; it must be at least 1")
        if self.coverage == 0 or self.ema == 1:
            raise ConfigError("coverage 0 keeps no token, ema 1 no lesson")
        if self.patience and not self.validate_every:
            raise ConfigError("patience counts validations, and there are none", do="set validate_every, too")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run, if nothing stops it early."""
        return self.steps if self.steps is not None else max(1, round(steps_per_epoch * self.epochs))

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = (step + 1) / max(1.0, total * self.warmup_lr)
        return self.learning_rate * min(1.0, warm, (total - step) / total)

    def document(self) -> dict[str, object]:
        """All settings by name, for a run's parameters."""
        return asdict(self)

    @classmethod
    def names(cls) -> list[str]:
        """Of all settings."""
        return [each.name for each in fields(cls)]
