"""A small draft for every cluster of the traffic, all partitions on the same total of training steps."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from decoding.load import load_draft
from decoding.output_vocabulary import read_output_vocabulary
from decoding.trace import SpeculationTrace
from training.distillation.examples import Examples, from_traces
from training.distillation.export import export_draft, load_student
from training.distillation.plan import Plan
from training.distillation.trainer import train
from training.online.trial import SLOTS, longest
from training.replay import acceptances, expected_runs

LENGTH = 4  # tokens of a proposal

Told = Callable[[str], None]


@dataclass(frozen=True)
class Spending:
    """How drafts are trained: one total of steps for every partition, shared out by the clusters' tokens."""

    steps: int = 360
    learning_rate: float = 7e-4
    tokens_per_batch: int = 2048

    def plan(self, steps: int, seed: int) -> Plan:
        """Of one draft."""
        return Plan(
            warmup_kl=0.0,
            learning_rate=self.learning_rate,
            tokens_per_batch=self.tokens_per_batch,
            steps=steps,
            seed=seed,
            save_every=100,
        )


@dataclass(frozen=True)
class Scores:
    """One draft on all held-out answers.

    Attributes:
        runs: expected target runs of each answer, float64 [n].
        accepted: expected accepted tokens of each, float64 [n], of as many as ``reachable``.
    """

    runs: Tensor
    accepted: Tensor
    reachable: Tensor


def shares(sizes: Sequence[int], steps: int) -> list[int]:
    """``steps`` shared out in proportion to ``sizes``, at least one each, exactly as many as there are.

    Raises:
        ValueError: fewer steps than shares.
    """
    if steps < len(sizes):
        raise ValueError(f"{steps} steps cannot be shared among {len(sizes)}")
    wanted = [steps * size / sum(sizes) for size in sizes]
    found = [max(1, int(each)) for each in wanted]
    while (left := steps - sum(found)) != 0:  # to whom it lacks most, or from whom has most too many
        by_lack = sorted(range(len(sizes)), key=lambda place: found[place] - wanted[place])
        spare = [place for place in by_lack if found[place] > 1]
        found[by_lack[0] if left > 0 else spare[-1]] += 1 if left > 0 else -1
    return found


@dataclass(frozen=True)
class Nursery:
    """Trains drafts from one parent and scores them on the held-out answers; each once, found again by its digest.

    Attributes:
        parent: folder of the draft that all go on from.
        work: where scores are kept; a draft itself stays only until it is scored.
    """

    parent: Path
    tokenizer: Path
    held_out: Sequence[SpeculationTrace]
    work: Path
    spending: Spending = field(default_factory=Spending)

    def scores(self, lesson: Sequence[SpeculationTrace], steps: int, seed: int) -> Scores:
        """Of the draft that comes of a lesson."""
        examples = from_traces(lesson, wrong_weight=1.0)
        plan = self.spending.plan(steps, seed)
        place = self.work / self._digest(examples, plan)
        if not (place / "scores.safetensors").is_file():
            self._make(examples, plan, place)
        return Scores(**load_file(place / "scores.safetensors"))

    def _make(self, examples: Examples, plan: Plan, place: Path) -> None:
        transformers_logging.disable_progress_bar()
        student = load_student(self.parent)
        train(student, [examples], place / "training", plan, {"parent": self._parent_digest})
        kept = read_output_vocabulary(self.parent, student.config.vocab_size)
        folder = export_draft(student, AutoTokenizer.from_pretrained(self.tokenizer), place / "draft", kept)
        scores = self._score(folder)
        save_file(vars(scores), place / "scores.new")
        (place / "scores.new").replace(place / "scores.safetensors")
        for leftover in ("training", "draft"):
            shutil.rmtree(place / leftover)

    def _score(self, folder: Path) -> Scores:
        accepted = acceptances(load_draft(folder, SLOTS, longest(self.held_out)), self.held_out)
        return Scores(
            runs=expected_runs(accepted, LENGTH)[:, LENGTH - 1].contiguous(),
            accepted=torch.stack([each.reachable.sum() for each in accepted]),
            reachable=torch.tensor([float(len(each.reachable)) for each in accepted], dtype=torch.float64),
        )

    @property
    def _parent_digest(self) -> str:
        files = sorted(self.parent.glob("*.safetensors"))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]

    def _digest(self, examples: Examples, plan: Plan) -> str:
        held_out = [(trace.prompt_length, trace.token_ids) for trace in self.held_out]
        whole = json.dumps([self._parent_digest, examples.digest(), repr(plan), held_out])
        return hashlib.sha256(whole.encode()).hexdigest()[:16]
