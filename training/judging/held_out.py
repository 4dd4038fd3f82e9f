"""Requests to judge by that no draft has learned from: recorded ones, or answers to validation prompts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from configs.errors import ConfigError
from decoding.checkpoint import fingerprint, read_config
from decoding.load import load_model
from decoding.trace import SpeculationTrace
from drafts.pool import GENERAL
from training.distillation.material import part_of
from training.distillation.prompts import encode, order_of
from training.distillation.sequences import Writing
from training.gate import GateRule
from training.labels.answers import AnswerBook, Asking
from training.labels.questions import read_questions
from training.online.split import is_held_out
from training.online.trial import SLOTS

DISTILLATION_SHARE = 0.2  # of the prompts of a trace log, which `polydraft distill --traces` does not learn from
_MOST_TOKENS = 160  # of an answer, as in `training.distillation.job_description`
_LOOKS = (64, 128, 256, 512)  # answers: a verdict that falls early saves the rest

Told = Callable[[int, int], None]  # answers that are there, prompts in all


def recorded(
    traces: Iterable[SpeculationTrace], share: float, is_distilled: bool, most: int | None = None
) -> list[SpeculationTrace]:
    """The newest requests whose prompts are held out from all training, oldest first.

    Which ones those are is decided by the prompt alone, as in `polydraft distill` and `polydraft learn`.

    Args:
        share: of the prompts that `polydraft learn` holds out; never more than distillation does.
        is_distilled: the candidate's weights were chosen on the development half of what distillation holds out, so
            that the other half is left to judge it by.
        most: requests; None is as many as the gate looks at.
    """
    least = min(share, DISTILLATION_SHARE)
    found = [
        trace
        for trace in traces
        if trace.answer_ids
        and trace.sampling.lossy is None
        and is_held_out(trace, least)
        and not (is_distilled and part_of(trace) == "development")
    ]
    return found[-(most or GateRule().most_requests) :]


@dataclass(frozen=True)
class Validation:
    """The target's answers to the validation prompts of some data, asked for as the gate wants them, and kept.

    Attributes:
        data: JSON lines with ``prompt`` and, if there are any, ``topic`` and ``split``, or a folder of such files.
        topic: of the draft; records without a topic are of this one, and the general draft takes them all.
        target: its folder.
        folder: keeps the answers.
        max_length: tokens that the target's cache holds.
    """

    data: Path
    topic: str
    target: Path
    folder: Path
    max_length: int
    told: Told = lambda *_: None

    def prompts(self, most: int | None = None) -> list[list[int]]:
        """Validation prompts in an order that follows from their text, each once.

        Raises:
            ConfigError: there are none that fit.
        """
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.target)
        questions = read_questions(self.data, "validation")
        texts = {each.text for each in questions if self.topic == GENERAL or each.group in ("", self.topic)}
        prompts = [encode(tokenizer, text) for text in sorted(texts, key=order_of)]
        fitting = [prompt for prompt in prompts if len(prompt) + self._tokens <= self.max_length]
        if not fitting:
            raise ConfigError(
                f"{self.data} has no validation prompts of {self.topic}",
                do="pass records with prompt, topic and split: validation",
            )
        return fitting[: most or GateRule().most_requests]

    def looks(self, most: int | None = None) -> Iterator[list[SpeculationTrace]]:
        """The answers to the first prompts, then to more and more of them."""
        prompts = self.prompts(most)
        temperatures = Writing(frozenset()).temperatures
        load_target = cache(lambda: load_model(self.target, SLOTS, self.max_length))
        identity, ends = fingerprint(self.target), frozenset(read_config(self.target).eos_token_ids)
        books = {
            each: AnswerBook(self.folder, Asking(identity, ends, each, self._tokens), load_target)
            for each in set(temperatures)
        }
        for size in [*(each for each in _LOOKS if each < len(prompts)), len(prompts)]:
            found: dict[int, SpeculationTrace] = {}
            for temperature, book in books.items():
                places = [n for n in range(size) if temperatures[n % len(temperatures)] == temperature]
                found.update(zip(places, book.answers([prompts[n] for n in places]), strict=True))
            self.told(size, len(prompts))
            yield [found[n] for n in range(size) if found[n].answer_ids]

    @property
    def _tokens(self) -> int:
        return min(_MOST_TOKENS, self.max_length // 2)
