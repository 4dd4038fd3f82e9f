"""The one trainer of all drafts: resumable after a kill at any moment to the same losses, bit for bit."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs.errors import CorpusError
from training.checkpoint import (
    Weights,
    load_checkpoint,
    load_others,
    named_weights,
    read_progress,
    save_checkpoint,
    set_weights,
)
from training.distillation.examples import Examples
from training.distillation.measure import Figures, measure
from training.distillation.plan import Plan
from training.distillation.rows import Row, Schedule, all_rows, collate, student_logits
from training.losses import mixture


@dataclass
class History:
    """What happened so far; all of it is in the checkpoint.

    Attributes:
        losses: of every step.
        validations: steps done (0: before the first one) and figures.
        best: the best mean alpha so far.
        stale: validations since then.
    """

    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, Figures]] = field(default_factory=list)
    best: float = -1.0
    stale: int = 0
    finished: bool = False

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        validations = [[step, figures.document()] for step, figures in self.validations]
        return {**vars(self), "validations": validations}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "History":
        """What `document` wrote."""
        pairs = [(step, Figures.read(figures)) for step, figures in document["validations"]]
        return cls(**{**document, "validations": pairs})


Report = Callable[[History, int], None]  # after every step, with the number of steps that are planned


def train(
    student: nn.Module,
    examples: Sequence[Examples],
    folder: Path,
    plan: Plan,
    stamp: Mapping[str, str],
    validation: Sequence[Examples] = (),
    vocabulary: Sequence[int] | None = None,
    report: Report | None = None,
) -> History:
    """Train ``student`` in place; it ends with the weights to keep.

    Goes on from ``folder``/checkpoint if that was made with the same ``plan`` and ``stamp``; else the checkpoint
    is removed. A finished run is only loaded.

    Args:
        student: a transformers causal language model.
        stamp: what else decides the result: the target, the parent, the data.
        validation: held-out examples; with `Plan.validate_every` they choose the weights to keep.
        vocabulary: what the student will be able to emit, for validation.

    Raises:
        CorpusError: there is nothing to learn from.
    """
    return _Job(student, examples, folder / "checkpoint", plan, stamp, validation, vocabulary).run(report)


class _Job:
    def __init__(
        self,
        student: nn.Module,
        examples: Sequence[Examples],
        checkpoint: Path,
        plan: Plan,
        stamp: Mapping[str, str],
        validation: Sequence[Examples],
        vocabulary: Sequence[int] | None,
    ):
        rows = all_rows(examples)
        if not rows:
            raise CorpusError("there is nothing to learn from: no text has an answer")
        self.student, self.plan, self.checkpoint = student, plan, checkpoint
        self.validation, self.vocabulary = validation, vocabulary
        self.stamp = {**stamp, "plan": repr(plan)}
        self.device = next(student.parameters()).device
        self.schedule = Schedule(rows, plan.tokens_per_batch, plan.seed)
        self.total = plan.total_steps(self.schedule.steps_per_epoch)
        self.optimizer = torch.optim.AdamW(
            student.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )
        self.history = History()
        self.others: dict[str, Weights] = {}  # "ema": the average; "best": what validation liked best

    def run(self, report: Report | None) -> History:
        self._restore()
        validates = bool(self.validation) and self.plan.validate_every > 0
        if validates and not self.history.validations:
            self._validate()  # what it begins with is a candidate, too
        while not self.history.finished:
            self._step(self.schedule.batch(self.history.step))
            done = self.history.step
            last = done == self.total
            if validates and (last or done % self.plan.validate_every == 0):
                self._validate()
            self.history.finished = last or (0 < self.plan.patience <= self.history.stale)
            if self.history.finished or done % self.plan.save_every == 0:
                progress = {"stamp": self.stamp, "history": self.history.document()}
                save_checkpoint(self.checkpoint, self.student, self.optimizer, progress, self.others)
            if report is not None:
                report(self.history, self.total)
        kept = self.others.get("best") or self.others.get("ema")
        if kept is not None:
            set_weights(self.student, kept)
        return self.history

    def _restore(self) -> None:
        if read_progress(self.checkpoint).get("stamp") != self.stamp:
            for leftover in (self.checkpoint, self.checkpoint.with_suffix(".old")):
                shutil.rmtree(leftover, ignore_errors=True)
        progress = load_checkpoint(self.checkpoint, self.student, self.optimizer)
        if progress is not None:
            self.history = History.read(progress["history"])
            loaded = load_others(self.checkpoint)
            self.others = {name: {k: v.to(self.device) for k, v in each.items()} for name, each in loaded.items()}
        elif self.plan.ema:
            self.others["ema"] = _copied(named_weights(self.student))

    def _step(self, rows: list[Row]) -> None:
        plan, step = self.plan, self.history.step
        self.student.train()
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate(step, self.total)
        batch = collate(rows, self.device)
        logits = student_logits(self.student, batch)
        name = "forward_kl" if step < self.total * plan.warmup_kl else plan.loss
        loss = mixture(name, plan.argmax_weight)(logits, batch.targets)
        mean = (loss * batch.weights).sum() / batch.weights.sum()
        self.optimizer.zero_grad()
        mean.backward()  # type: ignore[no-untyped-call]
        if plan.clip:
            nn.utils.clip_grad_norm_(self.student.parameters(), plan.clip)
        self.optimizer.step()
        if "ema" in self.others:
            with torch.no_grad():
                for name, parameter in self.student.named_parameters():
                    self.others["ema"][name].lerp_(parameter, 1 - plan.ema)
        self.history.losses.append(float(mean.detach()))

    def _validate(self) -> None:
        with _weights(self.student, self.others.get("ema")):
            figures = measure(self.student, self.validation, self.vocabulary)
            self.history.validations.append((self.history.step, figures))
            self.history.stale += 1
            if figures.score > self.history.best:
                self.history.best, self.history.stale = figures.score, 0
                self.others["best"] = _copied(named_weights(self.student))


def _copied(weights: Weights) -> Weights:
    return {name: tensor.clone() for name, tensor in weights.items()}


@contextmanager
def _weights(student: nn.Module, other: Weights | None) -> Iterator[None]:
    """The student with other weights, for a while."""
    if other is None:
        yield
        return
    own = _copied(named_weights(student))
    set_weights(student, other)
    yield
    set_weights(student, own)
