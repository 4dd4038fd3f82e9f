"""The chance that each token of a recorded answer is accepted from a draft: one forward of the draft over the text.

The output law does not depend on the draft, so an answer that was recorded under one draft scores all of them. Where
a drawn proposal reaches position t, and the answer there is y, the draft proposed y and it was accepted with
probability min(1, q(y) / p(y)), p and q being the laws of target and draft after the same processors, temperature
and cuts (rejection sampling: Leviathan et al. 2023, alg. 1; the posterior given y is `learning.md`, section 5).
At temperature 0 it is 1 where the draft's most probable token is y and 0 elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from decoding.laws import laws
from decoding.model import LanguageModel
from decoding.processors import Block
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from decoding.trace import SpeculationTrace

_FORWARD_ROWS = 1024  # rows of one draft forward over several texts; a longer text has a forward of its own
_PROMPT_ROWS = 256  # of `StepLoop`, most prompt rows in one forward


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How one answer would fare under chains of one draft.

    Attributes:
        values: chance that each token is accepted, given that a proposal reaches it, float64 [n].
        first: the first token that a proposal may hold, 0 or 1. The run that reads the prompt emits a token without
            a proposal, unless all it reads is one token: of a prompt of one token, or one that prompt chunks of 256
            leave over (for a request that runs alone; beside others its chunks may be shorter).
        max_tokens: of the request: proposals stop one short of it, since the target adds a token of its own.
    """

    values: Tensor
    first: int
    max_tokens: int

    @property
    def num_tokens(self) -> int:
        return len(self.values)

    @property
    def reachable(self) -> Tensor:
        """The values of tokens that some proposal may hold, [n or up to 2 fewer]."""
        return self.values[self.first : self.max_tokens - 1]


@dataclass(frozen=True, slots=True)
class _Answer:
    token_ids: Sequence[int]
    prompt_length: int
    sampling: SamplingParams
    drawn_probs: Tensor | None = None  # None where the choice was greedy


def acceptances(
    draft: LanguageModel, traces: Sequence[SpeculationTrace], draft_temperature: float = 1.0
) -> list[Acceptance]:
    """How each recorded answer would fare under ``draft``.

    Args:
        draft: with at least one free slot that holds the longest text less its last token.
        draft_temperature: multiplies the request's own where the draft draws; the ratio is of what it draws from.

    Raises:
        ValueError: a text is longer than the draft's cache, or was drawn by a lossy rule, so that its law is not
            the target's.
    """
    return acceptances_at(draft, traces, [draft_temperature])[0]


def acceptances_at(
    draft: LanguageModel, traces: Sequence[SpeculationTrace], draft_temperatures: Sequence[float]
) -> list[list[Acceptance]]:
    """`acceptances` at several draft temperatures, from the same forwards: a list of answers for each."""
    answers = []
    for trace in traces:
        if trace.sampling.lossy is not None:
            raise ValueError("an answer of a lossy rule cannot be replayed: its law is not the target's")
        drawn_probs = None if trace.sampling.is_greedy else trace.drawn_probs
        answers.append(_Answer(trace.token_ids, trace.prompt_length, trace.sampling, drawn_probs))
    return _replay(draft, answers, draft_temperatures)


def greedy_acceptances(
    draft: LanguageModel,
    texts: Sequence[Sequence[int]],
    prompt_lengths: Sequence[int],
    max_tokens: int | None = None,
) -> list[Acceptance]:
    """How greedy answers of the target would fare, from their text alone: nothing need have been recorded.

    Args:
        texts: prompt and answer.
        max_tokens: of the requests; None: answers of ``max_tokens`` tokens each, that is their own length.
    """
    answers = []
    for text, prompt_length in zip(texts, prompt_lengths, strict=True):
        sampling = SamplingParams(max_tokens=max_tokens or len(text) - prompt_length)
        answers.append(_Answer(text, prompt_length, sampling))
    return _replay(draft, answers, [1.0])[0]


def _replay(draft: LanguageModel, answers: Sequence[_Answer], temperatures: Sequence[float]) -> list[list[Acceptance]]:
    found: list[list[Acceptance]] = [[] for _ in temperatures]
    for group in _groups(draft, answers):
        logits = _forward(draft, group)
        for results, temperature in zip(found, temperatures, strict=True):
            blocks = [_block(answer, temperature) for answer in group]
            for answer, law in zip(group, laws(logits, blocks, draft.argmax), strict=True):
                first = 0 if (answer.prompt_length - 1) % _PROMPT_ROWS == 0 else 1
                results.append(Acceptance(_accepted(answer, law), first, answer.sampling.max_tokens))
    return found


def _groups(draft: LanguageModel, answers: Sequence[_Answer]) -> Iterator[list[_Answer]]:
    """Answers in order, as many at a time as slots and rows allow."""
    group: list[_Answer] = []
    rows = 0
    for answer in answers:
        needed = len(answer.token_ids) - 1
        if needed > draft.cache.max_length:
            raise ValueError(f"a text of {needed + 1} tokens; the draft's cache holds {draft.cache.max_length}")
        if not 0 < answer.prompt_length <= needed:
            raise ValueError(f"prompt of {answer.prompt_length} tokens in a text of {needed + 1}")
        if group and (rows + needed > _FORWARD_ROWS or len(group) == draft.cache.num_free):
            yield group
            group, rows = [], 0
        group.append(answer)
        rows += needed
    if group:
        yield group


def _forward(draft: LanguageModel, answers: Sequence[_Answer]) -> Tensor:
    """Logits [tokens of all answers, vocab_size]: of each row that an answer's token follows."""
    slots = [draft.cache.allocate() for _ in answers]
    try:
        texts = zip(slots, answers, strict=True)
        spans = [Span(slot, list(each.token_ids[:-1]), logits_from=each.prompt_length - 1) for slot, each in texts]
        return draft.forward(spans)
    finally:
        for slot in slots:
            draft.cache.release(slot)


def _block(answer: _Answer, draft_temperature: float) -> Block:
    """The answer as a chain that somebody proposed: row i has seen the prompt and the i tokens before it."""
    sampling, prompt = answer.sampling, list(answer.token_ids[: answer.prompt_length])
    if not sampling.is_greedy:
        sampling = replace(sampling, temperature=sampling.temperature * draft_temperature)
    chain = answer.token_ids[answer.prompt_length : -1]
    nodes = range(-1, len(chain))
    return Block(Request("", prompt, sampling, SeededRandomness(0)), chain, range(-1, len(chain) - 1), nodes)


def _accepted(answer: _Answer, law: list[int] | Tensor) -> Tensor:
    emitted = torch.tensor(answer.token_ids[answer.prompt_length :])
    if isinstance(law, list):
        return (torch.tensor(law) == emitted).double()
    assert answer.drawn_probs is not None
    drawn_probs = answer.drawn_probs.double()
    assert bool((drawn_probs > 0).all()), "a token was drawn that had no chance"
    drafted = law.gather(-1, emitted[:, None])[:, 0].double()
    return (drafted / drawn_probs).clamp(max=1.0)
