"""Distilling the starter's drafts from the target's answers: pooled first, then on from there by topic."""

import logging
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from decoding.output_vocabulary import widen
from training.checkpoint import load_checkpoint, read_progress, save_checkpoint
from training.losses import SparseTargets, acceptance, argmax_cross_entropy, lk_hybrid
from training.precision import autocast
from training.starter.answers import Answers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistilConfig:
    """One distillation: AdamW with a linear decay over ``epochs`` passes."""

    epochs: float
    learning_rate: float
    tokens_per_batch: int = 2048
    argmax_weight: float = 0.2  # share of the loss that greedy traffic alone cares for
    warmup_share: float = 0.05
    save_every: int = 200
    seed: int = 1


@dataclass(frozen=True)
class _Row:
    answers: Answers
    index: int

    @property
    def length(self) -> int:
        return int(self.answers.starts[self.index + 1] - self.answers.starts[self.index])


def distil(
    student: LlamaForCausalLM,
    train: Sequence[Answers],
    folder: Path,
    config: DistilConfig,
    target: str,
) -> None:
    """Train ``student`` in place.

    Goes on from ``folder``/checkpoint if that was made for the same ``target`` (a fingerprint).
    """
    optimizer = torch.optim.AdamW(student.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    if read_progress(folder / "checkpoint").get("target") != target:
        shutil.rmtree(folder, ignore_errors=True)
    progress = load_checkpoint(folder / "checkpoint", student, optimizer)
    start = int(progress["step"]) if progress else 0
    rows = [_Row(answers, index) for answers in train for index in range(len(answers))]
    per_epoch = len(_batches(rows, config, 0))
    total = max(1, round(per_epoch * config.epochs))
    plan: list[list[_Row]] = []
    for step in range(start, total):
        if not plan or step % per_epoch == 0:
            plan = _batches(rows, config, step // per_epoch)
        warm = (step + 1) / max(1.0, total * config.warmup_share)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, warm, (total - step) / total)
        loss = _train_step(student, optimizer, plan[min(step % per_epoch, len(plan) - 1)], config)
        if (step + 1) % 50 == 0:
            logger.info("%s step %d/%d  loss %.4f", folder.name, step + 1, total, loss)
        if (step + 1) % config.save_every == 0 or step + 1 == total:
            save_checkpoint(folder / "checkpoint", student, optimizer, {"step": step + 1, "target": target})


def _train_step(
    student: LlamaForCausalLM, optimizer: torch.optim.Optimizer, batch: list[_Row], config: DistilConfig
) -> float:
    student.train()
    logits, targets = _forward(student, batch)
    loss = (1 - config.argmax_weight) * lk_hybrid(logits, targets).mean()
    loss = loss + config.argmax_weight * argmax_cross_entropy(logits, targets).mean()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def output_vocabulary(answers: Sequence[Answers], coverage: float, multiple: int = 64) -> list[int]:
    """The most frequent tokens of the target's answers, so many that they make up ``coverage`` of them.

    Args:
        multiple: their number is rounded up to one, which a compiled head computes anyway.
    """
    ids = torch.cat([each.token_ids[each.answer_mask()] for each in answers]).long()
    frequencies = ids.bincount().sort(descending=True, stable=True)
    reached = frequencies.values.cumsum(0) >= coverage * len(ids)
    count = -(-(int(reached.int().argmax()) + 1) // multiple) * multiple
    return sorted(frequencies.indices[:count].tolist())


@torch.no_grad()
def measure(
    student: LlamaForCausalLM, held_out: Sequence[Answers], vocabulary: Sequence[int] | None = None
) -> dict[str, float]:
    """Mean acceptance over the answer positions of ``held_out``, at temperature 0 and 1.

    Args:
        vocabulary: all that the student may emit; None is everything.
    """
    student.eval()
    rows = [_Row(answers, index) for answers in held_out for index in range(len(answers))]
    sums, positions = [0.0, 0.0], 0
    for batch in _batches(rows, DistilConfig(epochs=1, learning_rate=0), 0):
        logits, targets = _forward(student, batch)
        if vocabulary is not None:
            logits = widen(logits[:, list(vocabulary)], torch.tensor(vocabulary), logits.size(-1))
        for which, value in enumerate(acceptance(logits, targets)):
            sums[which] += value * len(logits)
        positions += len(logits)
    return {"alpha_t0": sums[0] / max(1, positions), "alpha_t1": sums[1] / max(1, positions)}


def _forward(student: LlamaForCausalLM, batch: list[_Row]) -> tuple[Tensor, SparseTargets]:
    """Student logits and teacher laws at the positions whose next token is part of an answer."""
    token_ids = torch.zeros(len(batch), max(row.length for row in batch), dtype=torch.long)
    chosen = torch.zeros_like(token_ids, dtype=torch.bool)
    ids: list[Tensor] = []
    probs: list[Tensor] = []
    for number, row in enumerate(batch):
        answers, start, end = row.answers, int(row.answers.starts[row.index]), int(row.answers.starts[row.index + 1])
        first = int(answers.answer_starts[row.index]) - 1  # the last prompt token predicts the first of the answer
        token_ids[number, : end - start] = answers.token_ids[start:end]
        chosen[number, first - start : end - 1 - start] = True
        ids.append(answers.top_ids[first : end - 1])
        probs.append(answers.top_probs[first : end - 1])
    with autocast():
        hidden = student.model(input_ids=token_ids, use_cache=False).last_hidden_state[chosen]
        logits = student.lm_head(hidden).float()
    return logits, SparseTargets(torch.cat(ids).long(), torch.cat(probs).float())


def _batches(rows: Sequence[_Row], config: DistilConfig, epoch: int) -> list[list[_Row]]:
    order = random.Random(f"{config.seed}:{epoch}")
    shuffled = list(rows)
    order.shuffle(shuffled)
    shuffled.sort(key=lambda row: row.length // 32)  # stable: similar lengths together, shuffled within
    batches: list[list[_Row]] = [[]]
    for row in shuffled:
        if batches[-1] and row.length * (len(batches[-1]) + 1) > config.tokens_per_batch:
            batches.append([])
        batches[-1].append(row)
    order.shuffle(batches)
    return batches
