"""Prompts made ready for training: duplicates dropped, ambiguous ones dropped, split in two by prompt."""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.errors import CorpusError

FOREIGN = "out_of_scope"
# A split below this says nothing about a two per cent tail.
MIN_PROMPTS = 8

_QUESTION = re.compile(
    r"(what|who|how|when|where|why|which|is|are|do|does|did|can|could|will|would|should|may|am)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class PromptSet:
    """Prompts by topic, with ``out_of_scope`` for the foreign ones; no text is in both splits or in two topics.

    Attributes:
        train: for the weights.
        calibration: for the temperature and the thresholds.
        num_duplicates: prompts dropped as copies of another one of their topic.
        num_ambiguous: prompts dropped because two topics claim them.
    """

    train: dict[str, list[str]]
    calibration: dict[str, list[str]]
    num_duplicates: int
    num_ambiguous: int


def prepare_prompts(
    prompts_by_topic: Mapping[str, Sequence[str]],
    foreign: Sequence[str],
    seed: int,
    max_per_topic: int,
    calibration_share: float = 0.2,
) -> PromptSet:
    """Deduplicate (case and spacing aside), draw up to ``max_per_topic`` (twice that of foreign ones), and split.

    Raises:
        CorpusError: fewer than two topics, or too few prompts left in one.
    """
    if len(prompts_by_topic) < 2:
        raise CorpusError("a router needs two topics or more", do="give one list of prompts a topic")
    unique = {topic: _distinct(texts) for topic, texts in {**prompts_by_topic, FOREIGN: foreign}.items()}
    claims = Counter(key for texts in unique.values() for key in texts)
    train: dict[str, list[str]] = {}
    calibration: dict[str, list[str]] = {}
    for topic, texts in unique.items():
        clear = sorted(text for key, text in texts.items() if claims[key] == 1)
        if len(clear) < MIN_PROMPTS:
            raise CorpusError(f"only {len(clear)} different prompts for {topic}", do=f"give {MIN_PROMPTS} or more")
        random.Random(f"{seed} {topic}").shuffle(clear)
        drawn = clear[: max_per_topic * (2 if topic == FOREIGN else 1)]
        cut = max(1, round(len(drawn) * calibration_share))
        calibration[topic], train[topic] = drawn[:cut], drawn[cut:]
    given = sum(map(len, prompts_by_topic.values())) + len(foreign)
    num_unique = sum(map(len, unique.values()))
    num_ambiguous = sum(count for count in claims.values() if count > 1)
    return PromptSet(train, calibration, given - num_unique, num_ambiguous)


def as_written_text(prompt: str) -> str:
    """A capital and a final stop, for prompts collected without: else the gate would learn punctuation, not scope."""
    stop = "" if prompt[-1:] in ".?!" else "?" if _QUESTION.match(prompt) else "."
    return prompt[:1].upper() + prompt[1:] + stop


def without_stop(prompt: str) -> str:
    """The prompt as people type it who leave out the final stop."""
    return prompt.rstrip(" .?!") or prompt


def _distinct(texts: Sequence[str]) -> dict[str, str]:
    """Case-folded, space-collapsed text -> its first original."""
    distinct: dict[str, str] = {}
    for text in texts:
        distinct.setdefault(" ".join(text.casefold().split()), text)
    distinct.pop("", None)
    return distinct
