"""Arms of an experiment: a draft, what it learns from, and where it starts; trained once and kept."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from training.distillation.plan import Plan
from training.distillation.trainer import train as distil
from training.experiments.material import Material
from training.experiments.shapes import Shape
from training.starter.answers import Answers
from training.starter.export import save_model
from training.starter.pretrain import PretrainConfig, pretrain

logger = logging.getLogger(__name__)

POOLED_RATE, TOPIC_RATE = 1.5e-3, 7e-4  # of learning; the starter's recipe
_BASE_BATCH = 2048  # tokens


@dataclass(frozen=True)
class Arm:
    """One draft to be trained.

    Attributes:
        topics: whose answers it learns from, with the share of the texts of each; None is all of them.
        epochs: passes over them; 0 leaves the draft as it started.
        start: the arm whose weights it goes on from; None is the base, a draft that has only read the corpus.
        from_scratch: start from random weights instead.
        paced_by: a topic whose passes ``epochs`` counts: training is as long as it would be on that topic's texts.
        loss, argmax_weight: as in `training.distillation.plan.Plan`; the defaults are the starter's.
    """

    shape: Shape
    topics: tuple[tuple[str, float | None], ...]
    epochs: float
    learning_rate: float
    seed: int
    start: "Arm | None" = None
    from_scratch: bool = False
    paced_by: str | None = None
    loss: str = "lk"
    argmax_weight: float = 0.2


def train(arm: Arm, material: Material) -> Path:
    """Train ``arm``, or find it trained; returns a Hugging Face folder."""
    place = material.work / "arms" / arm_digest(arm, material)
    folder = place / "draft"
    if (place / "done.json").is_file():
        return folder
    draft = _beginning(arm, material)
    if arm.epochs:
        parts = [first(material.answers[topic], share) for topic, share in arm.topics]
        plan = _plan(arm, arm.epochs * _pace(arm, parts, material))
        examples = [part.examples() for part in parts]
        distil(draft, examples, place / "training", plan, {"target": material.fingerprint})
    save_model(draft, material.tokenizer, folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / "done.json").write_text(json.dumps({"arm": repr(arm)}))
    logger.info("trained %s on %s, seed %d", arm.shape.name, ", ".join(topic for topic, _ in arm.topics), arm.seed)
    return folder


def _plan(arm: Arm, epochs: float) -> Plan:
    return Plan(
        loss=arm.loss,
        argmax_weight=arm.argmax_weight,
        warmup_kl=0.0,
        learning_rate=arm.learning_rate,
        epochs=epochs,
        seed=arm.seed,
        save_every=200,
    )


def _pace(arm: Arm, parts: Sequence[Answers], material: Material) -> float:
    """Passes over ``parts`` that are as long as one over the texts that pace the arm."""
    if arm.paced_by is None:
        return 1.0
    return len(material.answers[arm.paced_by].token_ids) / sum(len(part.token_ids) for part in parts)


def arm_digest(arm: Arm, material: Material) -> str:
    """Names what ``arm`` becomes: everything that its weights depend on."""
    budget = material.budget
    data = budget.text_tokens, budget.answer_tokens, budget.max_length, budget.base_epochs
    return hashlib.sha256(f"{_described(arm)} {material.fingerprint} {data!r}".encode()).hexdigest()[:16]


def _described(arm: Arm) -> list[str]:
    """The fields of ``arm`` that are not at their defaults, so that a new field leaves old names as they are."""
    given = [(each.name, getattr(arm, each.name), each.default) for each in fields(arm)]
    return [
        f"{name}={_described(value) if isinstance(value, Arm) else value!r}"
        for name, value, default in given
        if value != default
    ]


def first(answers: Answers, share: float | None) -> Answers:
    """The first texts, a ``share`` of all, at least one."""
    if share is None:
        return answers
    count = max(1, int(share * len(answers)))
    end = int(answers.starts[count])
    return Answers(
        token_ids=answers.token_ids[:end],
        starts=answers.starts[: count + 1],
        answer_starts=answers.answer_starts[:count],
        top_ids=answers.top_ids[:end],
        top_probs=answers.top_probs[:end],
    )


def _beginning(arm: Arm, material: Material) -> LlamaForCausalLM:
    if arm.start is not None:
        # In float16, as it ships: a topic's draft goes on from the general draft that is served.
        return LlamaForCausalLM.from_pretrained(train(arm.start, material), dtype=torch.float32)
    config = arm.shape.config(material.target)
    if arm.from_scratch:
        torch.manual_seed(arm.seed)
        return LlamaForCausalLM(config)
    plan = PretrainConfig(epochs=material.budget.base_epochs, tokens_per_batch=_BASE_BATCH)
    return pretrain(config, material.corpus, {}, material.work / "base" / arm.shape.name, plan)
