"""Training the starter's target from scratch, resumable at any moment."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from training.checkpoint import load_checkpoint, save_checkpoint
from training.muon import Muon
from training.starter.batches import IGNORED, Sample, batches, collate

logger = logging.getLogger(__name__)


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
    validate_every: int = 100
    save_every: int = 50
    seed: int = 1


class JointOptimizer(torch.optim.Optimizer):
    """Muon for the matrices of the layers and AdamW for the rest, as one optimiser to step and to save."""

    def __init__(self, model: nn.Module, config: PretrainConfig):
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen]
        self.muon = Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay)
        self.adam = torch.optim.AdamW(rest, lr=config.vector_lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.parts: tuple[torch.optim.Optimizer, ...] = (self.muon, self.adam)
        self.peaks = (config.matrix_lr, config.vector_lr)

    def scale_lr(self, factor: float) -> None:
        """Set every learning rate to ``factor`` times its peak."""
        for part, peak in zip(self.parts, self.peaks, strict=True):
            for group in part.param_groups:
                group["lr"] = peak * factor

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, object]:
        muon, adam = (part.state_dict() for part in self.parts)
        offset = len(self.muon.param_groups[0]["params"])
        state = dict(muon["state"]) | {offset + index: value for index, value in adam["state"].items()}
        return {"state": state, "param_groups": [muon["param_groups"], adam["param_groups"]]}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        state, groups = state_dict["state"], state_dict["param_groups"]
        assert isinstance(state, dict) and isinstance(groups, list)
        offset = len(self.muon.param_groups[0]["params"])
        halves = (
            {index: value for index, value in state.items() if index < offset},
            {index - offset: value for index, value in state.items() if index >= offset},
        )
        for part, half, group in zip(self.parts, halves, groups, strict=True):
            part.load_state_dict({"state": half, "param_groups": group})


def learning_rate_factor(step: int, total: int, config: PretrainConfig) -> float:
    """Learning rate at ``step`` of ``total``, relative to its peak."""
    decay = max(1, round(total * config.decay_share))
    return max(0.0, min(1.0, (step + 1) / config.warmup_steps, (total - step) / decay))


def pretrain(
    model_config: LlamaConfig,
    train: list[Sample],
    validation: dict[str, list[Sample]],
    folder: Path,
    config: PretrainConfig,
) -> LlamaForCausalLM:
    """Train from scratch, or go on from ``folder``/checkpoint; log to ``folder``/log.jsonl."""
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(model_config)
    optimizer = JointOptimizer(model, config)
    progress = load_checkpoint(folder / "checkpoint", model, optimizer)
    start = int(progress["step"]) if progress else 0
    per_epoch = len(batches(train, config.tokens_per_batch, config.seed, 0))
    total = round(per_epoch * config.epochs)
    folder.mkdir(parents=True, exist_ok=True)
    began, tokens, epoch, plan = time.monotonic(), 0, -1, list[list[Sample]]()
    for step in range(start, total):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            plan = batches(train, config.tokens_per_batch, config.seed, epoch)
        batch = plan[min(step % per_epoch, len(plan) - 1)]
        optimizer.scale_lr(learning_rate_factor(step, total, config))
        loss = _train_step(model, optimizer, batch)
        tokens += sum(len(sample.token_ids) for sample in batch)
        done = step + 1
        if done % 10 == 0:
            speed = tokens / (time.monotonic() - began)
            left = (total - done) / max(1, done - start) * (time.monotonic() - began) / 60
            logger.info("step %d/%d  loss %.3f  %.0f tokens/s  %.0f min left", done, total, loss, speed, left)
        if done % config.validate_every == 0 or done == total:
            losses = {topic: evaluate(model, samples) for topic, samples in validation.items()}
            logger.info("step %d  validation %s", done, {topic: round(value, 3) for topic, value in losses.items()})
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": done, "epoch": done / per_epoch, "train": loss, **losses}) + "\n")
        if done % config.save_every == 0 or done == total:
            save_checkpoint(folder / "checkpoint", model, optimizer, {"step": done, "total": total})
    return model


def _train_step(model: LlamaForCausalLM, optimizer: JointOptimizer, batch: list[Sample]) -> float:
    model.train()
    token_ids, labels = collate(batch, prompt_loss=True)
    logits = model(input_ids=token_ids[:, :-1], use_cache=False).logits
    loss = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
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
        logits = model(input_ids=token_ids[:, :-1], use_cache=False).logits
        targets = labels[:, 1:].flatten()
        total += float(cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED, reduction="sum"))
        count += int((targets != IGNORED).sum())
    return total / max(count, 1)
