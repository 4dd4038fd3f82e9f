"""Training the starter's target from scratch, resumable at any moment."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from training.checkpoint import load_checkpoint, save_checkpoint
from training.joint_optimizer import JointOptimizer
from training.precision import autocast
from training.starter.batches import IGNORED, Sample, batches, collate

logger = logging.getLogger(__name__)

COMPILED_FROM = 300  # steps; compiling takes a minute or two and saves a quarter of a step


@dataclass(frozen=True)
class PretrainConfig:
    """Schedule of a training from scratch: constant learning rate, then a linear decay to zero.

    The decay may begin whenever ``epochs`` says, so a run can be shortened or prolonged from any
    checkpoint made before it (warm-up, stable, decay; Hu et al. 2024).
    """

    epochs: float = 3.0
    decay_share: float = 0.3  # of all steps
    warmup_steps: int = 40
    tokens_per_batch: int = 12_288
    matrix_lr: float = 0.02  # Muon, matrices of the layers
    vector_lr: float = 0.003  # AdamW, embeddings and norms
    weight_decay: float = 0.02
    validate_every: int = 200
    save_every: int = 50
    seed: int = 1


def learning_rate_factor(step: int, total: int, config: PretrainConfig) -> float:
    """Learning rate at ``step`` of ``total``, relative to its peak."""
    return max(0.0, min(1.0, (step + 1) / config.warmup_steps, (total - step) / decay_steps(total, config)))


def decay_steps(total: int, config: PretrainConfig) -> int:
    """How many of ``total`` steps the decay takes."""
    return max(1, round(total * config.decay_share))


def pretrain(
    model_config: LlamaConfig,
    train: list[Sample],
    validation: dict[str, list[Sample]],
    folder: Path,
    config: PretrainConfig,
) -> LlamaForCausalLM:
    """Train from scratch, or go on from ``folder``/checkpoint; log to ``folder``/log.jsonl.

    ``folder``/stable keeps the state before the decay: a longer schedule goes on from there.
    """
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(model_config)
    optimizer = JointOptimizer(model, config.matrix_lr, config.vector_lr, config.weight_decay)
    per_epoch = len(batches(train, config.tokens_per_batch, config.seed, 0))
    total = round(per_epoch * config.epochs)
    decay_begins = total - decay_steps(total, config)
    progress = load_checkpoint(folder / "checkpoint", model, optimizer)
    if progress and progress["step"] > decay_begins and progress["total"] != total:
        progress = load_checkpoint(folder / "stable", model, optimizer) or progress
    start = int(progress["step"]) if progress else 0
    folder.mkdir(parents=True, exist_ok=True)
    loss_of = _loss_function(model, compiled=total - start >= COMPILED_FROM and shutil.which("c++") is not None)
    began, tokens, epoch, plan = time.monotonic(), 0, -1, list[list[Sample]]()
    for step in range(start, total):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            plan = batches(train, config.tokens_per_batch, config.seed, epoch)
        batch = plan[min(step % per_epoch, len(plan) - 1)]
        optimizer.scale_lr(learning_rate_factor(step, total, config))
        loss = _train_step(model, optimizer, loss_of, batch)
        tokens += sum(len(sample.token_ids) for sample in batch)
        done = step + 1
        if done % 10 == 0:
            speed = tokens / (time.monotonic() - began)
            left = (total - done) / max(1, done - start) * (time.monotonic() - began) / 60
            logger.info("step %d/%d  loss %.3f  %.0f tokens/s  %.0f min left", done, total, loss, speed, left)
        if validation and (done % config.validate_every == 0 or done == total):
            losses = {topic: evaluate(model, samples) for topic, samples in validation.items()}
            logger.info("step %d  validation %s", done, {topic: round(value, 3) for topic, value in losses.items()})
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": done, "epoch": done / per_epoch, "train": loss, **losses}) + "\n")
        if done % config.save_every == 0 or done == total:
            save_checkpoint(folder / "checkpoint", model, optimizer, {"step": done, "total": total})
        if done == decay_begins:
            save_checkpoint(folder / "stable", model, optimizer, {"step": done, "total": total})
    return model


def _loss_function(model: LlamaForCausalLM, compiled: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean cross-entropy of token ids [rows, width] against labels [rows, width], a scalar."""

    def loss(token_ids: Tensor, labels: Tensor) -> Tensor:
        logits = model(input_ids=token_ids[:, :-1], use_cache=False).logits.float()
        return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)

    return torch.compile(loss, dynamic=True) if compiled else loss


def _train_step(
    model: LlamaForCausalLM,
    optimizer: JointOptimizer,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    batch: list[Sample],
) -> float:
    model.train()
    with autocast():
        loss = loss_of(*collate(batch, prompt_loss=True))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


@torch.inference_mode()
def evaluate(model: LlamaForCausalLM, samples: list[Sample]) -> float:
    """Mean loss a response token, in nats."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches(samples, 8192, seed=0, epoch=0):
        token_ids, labels = collate(batch, prompt_loss=False)
        with autocast():
            logits = model(input_ids=token_ids[:, :-1], use_cache=False).logits.float()
        targets = labels[:, 1:].flatten()
        total += float(cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED, reduction="sum"))
        count += int((targets != IGNORED).sum())
    return total / max(count, 1)
