"""Drafts before a stream of requests: each request is scored by the draft that serves it, and only then learned from.

Prequential scores (Dawid 1984): what a draft is worth on a request is measured before it sees the request's answer.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils import logging as transformers_logging

from decoding.load import load_draft
from decoding.model import LanguageModel
from decoding.request import Origin
from decoding.trace import SpeculationTrace
from drafts.learning import LearningSection
from training.distillation.export import load_student
from training.gate import Outcome
from training.online.learner import OnlineLearner
from training.online.trial import longest
from training.replay import Acceptance, acceptances, expected_runs

LENGTH = 8  # tokens of a proposal
ACCEPTED, PROPOSABLE, TOKENS, RUNS = range(4)  # columns of scores
_SLOTS = 16
_ALL = 1e-9  # share of the prompts that is held out where no gate looks at it; none must not be


@dataclass(frozen=True)
class Learning:
    """How a draft learns from the requests that it serves.

    Attributes:
        gated: a candidate serves only if the gate lets it; else every candidate does, as in OSD.
    """

    settings: LearningSection
    gated: bool
    seed: int

    @property
    def section(self) -> LearningSection:
        """The settings; without a gate nothing is kept from learning."""
        return self.settings if self.gated else self.settings.model_copy(update={"heldout_share": _ALL})


@dataclass(frozen=True)
class Outcomes:
    """What came of a sequence of requests.

    Attributes:
        scores: a row a request: accepted tokens, tokens that a proposal may hold, tokens, target runs; float64 [n, 4].
        published: after how many requests (of its topic, where it is routed) a new draft began to serve.
    """

    scores: Tensor
    published: tuple[int, ...] = ()


def score(accepted: Sequence[Acceptance]) -> Tensor:
    """Scores of replayed requests, float64 [n, 4]: columns as in `Outcomes`."""
    runs = expected_runs(accepted, LENGTH)[:, LENGTH - 1].tolist()
    rows = [
        (float(each.reachable.sum()), len(each.reachable), each.num_tokens, count)
        for each, count in zip(accepted, runs, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64).view(-1, 4)


def static(draft: Path, traces: Sequence[SpeculationTrace]) -> Outcomes:
    """A draft that stays as it is."""
    return Outcomes(score(acceptances(load_draft(draft, _SLOTS, longest(traces)), traces)))


def prequential(start: Path, traces: Sequence[SpeculationTrace], learning: Learning) -> Outcomes:
    """A draft that begins as ``start`` and learns from the requests that it has served, in order."""
    every = learning.section.every_requests
    student = load_student(start)
    learner = OnlineLearner(student, learning.section, seed=learning.seed)
    serving = _served(student, traces)
    found, published = [torch.zeros(0, 4, dtype=torch.float64)], []
    for begin in range(0, len(traces), every):  # an update is due after so many and no earlier
        block = traces[begin : begin + every]
        accepted = acceptances(serving, block)
        found.append(score(accepted))
        for trace, each in zip(block, accepted, strict=True):
            learner.observe(as_served(trace, each))
        if not learner.due or begin + every >= len(traces):
            continue
        candidate = learner.update()
        if not learning.gated or (learner.held_out and learner.judge(candidate).verdict.outcome is Outcome.PROMOTED):
            learner.promote(candidate)
            serving = _served(student, traces)
            published.append(begin + every)
    return Outcomes(torch.cat(found), tuple(published))


def as_served(trace: SpeculationTrace, accepted: Acceptance) -> SpeculationTrace:
    """A greedy answer as the recorder would have left it, had a draft with these acceptances proposed ``LENGTH``.

    Which tokens are corrections depends on the draft that serves; they count more in a lesson.
    """
    assert trace.sampling.is_greedy
    hits, size = [value == 1 for value in accepted.values.tolist()], accepted.num_tokens
    origins: list[Origin] = []
    runs: list[int] = []
    while (done := len(origins)) < size:
        wished = min(LENGTH, accepted.max_tokens - 1 - done) if done >= accepted.first else 0
        right = next((ahead for ahead in range(wished) if done + ahead >= size or not hits[done + ahead]), wished)
        own = Origin.PLAIN if wished <= 0 else Origin.BONUS if right == wished else Origin.CORRECTED
        emitted = [*[Origin.DRAFT] * right, own][: size - done]  # an answer may stop inside a proposal
        origins += emitted
        runs.append(len(emitted))
    return replace(trace, origins=origins, run_lengths=runs)


def kept(folder: Path, name: str, make: Callable[[], Outcomes]) -> Outcomes:
    """What ``make`` returns; made once for every name, then found in ``folder``."""
    file = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"
    if not file.is_file():
        made = make()
        folder.mkdir(parents=True, exist_ok=True)
        published = torch.tensor(made.published, dtype=torch.int64)
        save_file({"scores": made.scores, "published": published}, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
    held = load_file(file)
    return Outcomes(held["scores"], tuple(held["published"].tolist()))


def _served(student: Any, traces: Sequence[SpeculationTrace]) -> LanguageModel:
    transformers_logging.disable_progress_bar()
    with TemporaryDirectory() as folder:
        student.save_pretrained(folder)
        return load_draft(Path(folder), _SLOTS, longest(traces))
