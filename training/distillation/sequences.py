"""Who writes the texts that a draft learns from: the data, the target, the draft, or two of them in turn.

On-policy text (student, mixed) is DistillSpec's (Zhou et al. 2024); the two ways of mixing are those of OSD
(Liu et al. 2024). Whoever writes, the laws are the target's (`training.distillation.scoring`).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from configs.errors import CorpusError
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.sampling import probabilities
from decoding.span import Span
from decoding.step_loop import StepLoop
from training.distillation.scoring import Text

Source = Literal["data", "teacher", "student", "mixed-request", "mixed-token"]
OF_THE_DRAFT = ("student", "mixed-request", "mixed-token")  # text that is the draft's own, at least in part
SOURCES: tuple[str, ...] = get_args(Source)


@dataclass(frozen=True)
class Prompt:
    """A prompt, and its answer in the data where there is one; token ids, the end token included."""

    token_ids: list[int]
    response: list[int] | None = None


@dataclass(frozen=True)
class Writing:
    """How answers are written.

    Attributes:
        temperatures: in turn, prompt by prompt; the traffic's own mix is best.
        student_share: chance that a request or a token is the student's, when mixed.
    """

    end_token_ids: frozenset[int]
    max_tokens: int = 160
    temperatures: tuple[float, ...] = (0.0, 0.0, 0.0, 0.8, 0.8)
    student_share: float = 0.5
    seed: int = 1

    def sampling(self, number: int) -> SamplingParams:
        """Of the answer to prompt ``number``."""
        temperature = self.temperatures[number % len(self.temperatures)]
        return SamplingParams(temperature=temperature, max_tokens=self.max_tokens, stop_token_ids=self.end_token_ids)

    def randomness(self, number: int) -> SeededRandomness:
        """Of the answer to prompt ``number``: the same whichever prompts are answered beside it."""
        return SeededRandomness(self.seed * 1_000_003 + number)

    def coins(self, number: int) -> random.Random:
        """Whose turn it is, for prompt ``number``."""
        return random.Random(f"{self.seed}:{number}:turn")


Numbered = Sequence[tuple[int, Prompt]]


def write(source: Source, prompts: Numbered, target: LanguageModel, student: LanguageModel, how: Writing) -> list[Text]:
    """A text a prompt, in their order.

    Args:
        prompts: with their numbers, which decide temperature, seed and turns.

    Raises:
        CorpusError: the data are to write, and a prompt has no response.
    """
    if source == "data":
        return [_from_data(prompt) for _, prompt in prompts]
    if source == "mixed-token":
        return _mixed_tokens(prompts, target, student, how)
    mine = {number for number, _ in prompts if source == "student"}
    if source == "mixed-request":
        mine = {number for number, _ in prompts if how.coins(number).random() < how.student_share}
    texts = _answered([each for each in prompts if each[0] not in mine], target, how)
    texts |= _answered([each for each in prompts if each[0] in mine], student, how)
    return [texts[number] for number, _ in prompts]


def _from_data(prompt: Prompt) -> Text:
    if not prompt.response:
        raise CorpusError("a prompt has no response to learn from", do="let the target answer: --source teacher")
    return prompt.token_ids + prompt.response, len(prompt.token_ids)


def _answered(prompts: Numbered, model: LanguageModel, how: Writing) -> dict[int, Text]:
    requests = {
        number: Request(str(number), prompt.token_ids, how.sampling(number), how.randomness(number))
        for number, prompt in prompts
    }
    StepLoop(model, {}).run(list(requests.values()))
    return {number: (request.token_ids, len(request.prompt_token_ids)) for number, request in requests.items()}


def _mixed_tokens(prompts: Numbered, target: LanguageModel, student: LanguageModel, how: Writing) -> list[Text]:
    """Each token is the target's or the student's by the fall of a coin; both read all of them into their caches."""
    return [_mixed(number, prompt, (target, student), how) for number, prompt in prompts]


def _mixed(number: int, prompt: Prompt, models: tuple[LanguageModel, LanguageModel], how: Writing) -> Text:
    sampling, randomness, coins = how.sampling(number), how.randomness(number), how.coins(number)
    token_ids = list(prompt.token_ids)
    slots = [model.cache.allocate() for model in models]
    unread = token_ids
    for _ in range(how.max_tokens):
        laws = []
        for model, slot in zip(models, slots, strict=True):
            laws.append(model.forward([Span(slot, unread, logits_from=len(unread) - 1)]).clone())
            model.cache.commit(slot, range(len(unread)))
        unread = [_drawn(laws[coins.random() < how.student_share], sampling, randomness)]
        token_ids += unread
        if unread[0] in how.end_token_ids:
            break
    for model, slot in zip(models, slots, strict=True):
        model.cache.release(slot)
    return token_ids, len(prompt.token_ids)


def _drawn(logits: Tensor, sampling: SamplingParams, randomness: SeededRandomness) -> int:
    if sampling.is_greedy:
        return int(torch.argmax(logits[0]))
    return randomness.choose(probabilities(logits, sampling)[0])
