"""Labelled prompts from files, without copies, split by prompt: what is held out once is held out for ever."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from configs.console import read_records
from configs.errors import CorpusError
from router.prompts import FOREIGN, MIN_PROMPTS, PromptSet

Part = Literal["train", "calibration", "held_out"]
PARTS: tuple[Part, ...] = ("train", "calibration", "held_out")
# Per cent of prompts; where the data name a validation split, that is held out and the rest is shared as 14 to 3.
_CALIBRATION, _HELD_OUT = 15, 15
PER_TOPIC = 3000


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt, and the topic (or ``out_of_scope``) under which it was collected.

    ``is_held_out`` is None where the data do not say.
    """

    text: str
    group: str
    is_held_out: bool | None = None


@dataclass(frozen=True)
class RoutingPrompts:
    """Prompts by topic in three parts; no prompt is in two parts or two topics, capital letters and spacing aside.

    Attributes:
        parts: part -> topic -> texts, in an order that depends on their digests alone.
        num_given: records read.
        num_duplicates: of them dropped as copies.
        num_ambiguous: different prompts dropped because two topics claim them.
        marked: what the data say of prompts that they mark: True is held out.
    """

    parts: dict[Part, dict[str, list[str]]]
    num_given: int
    num_duplicates: int
    num_ambiguous: int
    marked: Mapping[str, bool]

    def may_learn(self, text: str) -> bool:
        """Whether ``text``, of these prompts or from elsewhere, is none that is held out."""
        key = _key(text)
        return _part(key, self.marked.get(key), any(self.marked.values())) != "held_out"

    @property
    def topics(self) -> tuple[str, ...]:
        """Without ``out_of_scope``, in the order of the data."""
        return tuple(topic for topic in self.parts["train"] if topic != FOREIGN)

    @property
    def training(self) -> PromptSet:
        """What a router is fitted on."""
        return PromptSet(self.parts["train"], self.parts["calibration"], self.num_duplicates, self.num_ambiguous)

    def size(self, part: Part) -> int:
        """Prompts in a part."""
        return sum(map(len, self.parts[part].values()))

    def digest(self, part: Part) -> str:
        """Of the prompts and topics of a part, whatever their order."""
        lines = sorted(f"{topic}\t{_digest(_key(text))}" for topic, texts in self.parts[part].items() for text in texts)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def read_labelled(source: Path) -> list[Labelled]:
    """Records with ``prompt``, ``topic`` and maybe ``split``, of a JSON lines file or of every ``*.jsonl`` of a folder.

    ``split: validation`` is held out; other splits than that and ``train`` are left alone. In a folder the name of
    a file stands for a missing ``topic``.

    Raises:
        ConfigError: the file is missing or a line is no such record.
        CorpusError: the folder holds no such file.
    """
    if not source.is_dir():
        return [found for record in read_records(source, ["prompt", "topic"]) for found in _labelled(record, "")]
    files = sorted(source.glob("*.jsonl"))
    if not files:
        raise CorpusError(f"no *.jsonl in {source}", do="pass a folder with one JSON lines file a topic")
    return [
        found for file in files for record in read_records(file, ["prompt"]) for found in _labelled(record, file.stem)
    ]


def _labelled(record: Mapping[str, Any], topic: str) -> list[Labelled]:
    split = record.get("split")
    if split not in (None, "train", "validation"):
        return []
    held_out = None if split is None else split == "validation"
    return [Labelled(str(record["prompt"]), str(record.get("topic") or topic), held_out)]


def split_prompts(
    records: Iterable[Labelled], seed: int = 0, per_topic: int | None = PER_TOPIC, needed: Iterable[Part] = PARTS
) -> RoutingPrompts:
    """Deduplicate and split.

    A prompt that no record marks goes where its digest says, so that it stays there in every later training. The seed
    chooses which prompts to learn from where there are more than ``per_topic``; what is held out does not depend on it.

    Args:
        per_topic: most prompts of a topic, all parts together; twice as many of ``out_of_scope``. None: all.
        needed: parts that must not be short of prompts.

    Raises:
        CorpusError: fewer than two topics, or too few prompts in one.
    """
    given, by_topic, marks = 0, dict[str, dict[str, str]](), dict[str, bool]()
    for record in records:
        given += 1
        if not (key := _key(record.text)):
            continue
        by_topic.setdefault(record.group, {}).setdefault(key, record.text)
        if record.is_held_out is not None:  # twice: rather held out than learned
            marks[key] = marks.get(key, False) or record.is_held_out
    claims = Counter(key for texts in by_topic.values() for key in texts)
    ambiguous = {key for key, count in claims.items() if count > 1}
    has_split = any(marks.values())
    parts: dict[Part, dict[str, list[str]]] = {part: {} for part in PARTS}
    for topic, texts in by_topic.items():
        groups: dict[Part, list[str]] = {part: [] for part in PARTS}
        for key in sorted(texts.keys() - ambiguous, key=_digest):
            groups[_part(key, marks.get(key), has_split)].append(texts[key])
        for part, found in groups.items():
            parts[part][topic] = _drawn(found, part, topic, per_topic, seed)
    _check(parts, tuple(needed))
    num_copies = given - len(claims) - sum(claims[key] - 1 for key in ambiguous)
    return RoutingPrompts(parts, given, num_copies, len(ambiguous), marks)


def _part(key: str, mark: bool | None, has_split: bool) -> Part:
    place = int(_digest(key)[:8], 16) % 100
    if mark:
        return "held_out"
    # With a validation split of its own, nothing else is held out: the router that serves may have learned from it.
    if mark is None and place >= 100 - _HELD_OUT and not has_split:
        return "held_out"
    return "calibration" if place < _CALIBRATION else "train"


def _drawn(texts: list[str], part: Part, topic: str, per_topic: int | None, seed: int) -> list[str]:
    if per_topic is None:
        return texts
    share = {"train": 100 - _CALIBRATION - _HELD_OUT, "calibration": _CALIBRATION, "held_out": _HELD_OUT}[part]
    most = max(MIN_PROMPTS, per_topic * share // 100) * (2 if topic == FOREIGN else 1)
    if part == "held_out" or len(texts) <= most:
        return texts[:most]  # sorted by digest: the first ones are a random choice that later data hardly changes
    kept = set(random.Random(f"{seed} {topic}").sample(range(len(texts)), most))
    return [text for place, text in enumerate(texts) if place in kept]


def _check(parts: Mapping[Part, Mapping[str, list[str]]], needed: tuple[Part, ...]) -> None:
    names = [topic for topic in parts["train"] if topic != FOREIGN]
    if len(names) < 2:
        raise CorpusError("a router needs two topics or more", do="give each record its topic")
    if FOREIGN not in parts["train"]:
        raise CorpusError(
            "no prompts of out_of_scope: nothing says what no topic is like",
            do=f'add prompts of no topic, as {{"prompt": ..., "topic": "{FOREIGN}"}}',
        )
    for part in needed:
        for topic, texts in parts[part].items():
            if len(texts) < MIN_PROMPTS:
                what = f"only {len(texts)} different prompts for {topic} in the part {part.replace('_', '-')}"
                raise CorpusError(what, do=f"give {MIN_PROMPTS} or more; of ten prompts, seven are for training")


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
