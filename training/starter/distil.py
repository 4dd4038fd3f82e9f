"""Distilling the starter's drafts from the target's answers: pooled first, then on from there by topic."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from training.distillation import measure as measuring
from training.distillation import vocabulary
from training.distillation.plan import Plan
from training.distillation.trainer import History, train
from training.starter.answers import Answers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistilConfig:
    """The starter's settings of a `Plan`: the LK hybrid from the first step, and what they all share."""

    epochs: float
    learning_rate: float
    tokens_per_batch: int = 2048
    argmax_weight: float = 0.2  # share of the loss that greedy traffic alone cares for
    warmup_share: float = 0.05
    save_every: int = 200
    seed: int = 1

    @property
    def plan(self) -> Plan:
        """For the trainer."""
        return Plan(
            loss="lk",
            argmax_weight=self.argmax_weight,
            warmup_kl=0.0,
            warmup_lr=self.warmup_share,
            learning_rate=self.learning_rate,
            tokens_per_batch=self.tokens_per_batch,
            epochs=self.epochs,
            save_every=self.save_every,
            seed=self.seed,
        )


def distil(
    student: LlamaForCausalLM,
    answers: Sequence[Answers],
    folder: Path,
    config: DistilConfig,
    target: str,
) -> None:
    """Train ``student`` in place.

    Goes on from ``folder``/checkpoint if that was made for the same ``target`` (a fingerprint) and ``config``.
    """

    def log(history: History, total: int) -> None:
        if history.step % 50 == 0:
            logger.info("%s step %d/%d  loss %.4f", folder.name, history.step, total, history.losses[-1])

    train(student, [each.examples() for each in answers], folder, config.plan, {"target": target}, report=log)


def output_vocabulary(answers: Sequence[Answers], coverage: float, multiple: int = 64) -> list[int]:
    """The most frequent tokens of the target's answers, so many that they make up ``coverage`` of them.

    Args:
        multiple: their number is rounded up to one, which a compiled head computes anyway.
    """
    written = torch.cat([each.token_ids[each.answer_mask()] for each in answers])
    return vocabulary.output_vocabulary(written, coverage, multiple)


def measure(
    student: LlamaForCausalLM, held_out: Sequence[Answers], vocabulary: Sequence[int] | None = None
) -> dict[str, float]:
    """Mean acceptance over the answer positions of ``held_out``, at temperature 0 and 1.

    Args:
        vocabulary: all that the student may emit; None is everything.
    """
    figures = measuring.measure(student, [each.examples() for each in held_out], vocabulary)
    return {"alpha_t0": figures.alpha_t0, "alpha_t1": figures.alpha_t1}
