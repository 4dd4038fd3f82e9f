"""200 000 sampled answers through the whole step loop follow the target's law; a broken rule does not go unseen."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from scipy.stats import chi2

import decoding.verification.recursive
from decoding.proposal import Scheme
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.tree_drafter import TreeDrafter
from tests.toys import ToyModel

VOCAB_SIZE, BATCH = 4, 8
RARE = 10  # expected counts below this are put together
Answer = tuple[int, ...]


class TabulatedModel(ToyModel):
    """A `ToyModel` that looks its logits up, so that two hundred thousand answers take a minute."""

    def __init__(self, seed: int, target: "TabulatedModel | None" = None):
        """A model of its own; with a target, one that is close to it."""
        super().__init__(VOCAB_SIZE, seed, num_slots=BATCH, max_length=24)
        pairs = [(first, second) for first in range(VOCAB_SIZE) for second in range(VOCAB_SIZE)]
        single = [(token_id,) for token_id in range(VOCAB_SIZE)]
        self._held = self.cache.keys[0, :, 0, :, 0].numpy()  # the same memory
        self._table = torch.stack([self.logits(context) for context in [*pairs, *single]])
        if target is not None:
            self._table = (self._table + 3 * target._table) / 4

    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        wanted: list[int] = []
        for span in spans:
            start, rows = self.cache.lengths[span.slot], len(span.token_ids)
            held = self._held[span.slot]
            before = int(held[start - 1]) if start else VOCAB_SIZE
            held[start : start + rows] = span.token_ids
            parents = span.parents if span.parents is not None else range(-1, rows - 1)
            for row in range(span.logits_from, rows):
                parent = parents[row]
                wanted.append(VOCAB_SIZE * (span.token_ids[parent] if parent >= 0 else before) + span.token_ids[row])
        return self._table[wanted]


@dataclass(frozen=True)
class Kind:
    """An eighth of the requests: who drafts, how it is sampled, what it continues."""

    drafter: str | None
    sampling: SamplingParams
    prompt: tuple[int, ...] = (1,)


KINDS = [
    Kind(None, SamplingParams(max_tokens=3, temperature=1.0)),
    Kind("chain", SamplingParams(max_tokens=3, temperature=0.7, top_p=0.8)),
    Kind("chain", SamplingParams(max_tokens=3, temperature=1.2, repetition_penalty=1.4, presence_penalty=0.5)),
    Kind("tree", SamplingParams(max_tokens=3, temperature=1.5, top_p=0.9)),
    Kind("tree", SamplingParams(max_tokens=3, temperature=1.0, frequency_penalty=0.6, stop_token_ids=frozenset({2}))),
    Kind("paths", SamplingParams(max_tokens=3, temperature=1.0, top_k=3)),
    Kind("merged", SamplingParams(max_tokens=3, temperature=1.0, min_p=0.1)),
    Kind("lookup", SamplingParams(max_tokens=3, temperature=1.0, logit_bias=((1, 1.0),)), prompt=(1, 0, 1, 0)),
]


def loop() -> StepLoop:
    target = TabulatedModel(1)
    chain = ModelDrafter(TabulatedModel(7, target))
    drafters = {
        "chain": chain,
        "tree": TreeDrafter(TabulatedModel(8, target), Expansion((2, 2))),
        "paths": TreeDrafter(TabulatedModel(9, target), Expansion((3,), Scheme.PATHS)),
        "merged": MergedDrafter({"chain": chain, "other": ModelDrafter(TabulatedModel(9, target))}),
        "lookup": PromptLookup(),
    }
    return StepLoop(target, drafters, num_draft_tokens=2)


def answers(count: int) -> Iterator[tuple[int, Answer]]:
    """Decode ``count`` requests, eight at a time, every kind beside every other; number of its kind and answer."""
    running = loop()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        randomness = SeededRandomness(number)
        running.admit(Request(str(number), list(kind.prompt), kind.sampling, randomness, drafter=kind.drafter))
        while running.num_running + running.num_waiting >= (BATCH if number < count - 1 else 1):
            for output in running.step():
                if output.finish_reason is not None:
                    yield int(output.request.request_id) % len(KINDS), tuple(output.request.generated)


def p_value(count: int) -> float:
    """Of the counts of all answers of all kinds, against the target's law."""
    seen = Counter(answers(count))
    assert sum(seen.values()) == count
    cells: list[tuple[float, int]] = []  # expected, observed
    for index, kind in enumerate(KINDS):
        law = TabulatedModel(1).law(kind.prompt, kind.sampling)
        total = sum(number for (owner, _), number in seen.items() if owner == index)
        assert all(answer in law for owner, answer in seen if owner == index)
        found = [(probability * total, seen[index, answer]) for answer, probability in law.items()]
        rare = [cell for cell in found if cell[0] < RARE]
        cells += [cell for cell in found if cell[0] >= RARE]
        cells += [(sum(expected for expected, _ in rare), sum(observed for _, observed in rare))] if rare else []
    statistic = sum((observed - expected) ** 2 / expected for expected, observed in cells)
    return float(chi2.sf(statistic, len(cells) - len(KINDS)))


@pytest.mark.slow
def test_the_answers_follow_the_targets_law():
    """Chi-square over chains, trees, paths, merged drafts, prompt lookup, cuts and penalties, all in one batch."""
    assert p_value(200_000) > 0.01


def test_a_broken_rule_is_rejected(monkeypatch):
    """Negative control: a few answers show that the draft's law was not subtracted from the residual."""
    monkeypatch.setattr(decoding.verification.recursive, "recovered_weights", lambda target, draft: target)
    assert p_value(16_000) < 1e-9
