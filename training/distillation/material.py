"""From prompts or traces to examples, kept in a folder as they come, so that nothing is written or scored twice."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.console import write_whole
from configs.errors import CorpusError
from decoding.model import LanguageModel
from decoding.trace import SpeculationTrace
from training.distillation.examples import Examples, from_text, from_traces, join
from training.distillation.prompts import Prompts, digest
from training.distillation.scoring import score
from training.distillation.sequences import Prompt, Source, Writing, write

logger = logging.getLogger(__name__)

_PART = 32  # texts a file: what a kill may cost
_TENTH = 10

Told = Callable[[str, int, int], None]  # what is being written, texts done, texts in all


@dataclass(frozen=True)
class Material:
    """Examples to learn from, to stop by, and to report on, and what they are, for people."""

    train: Examples
    development: Examples
    validation: Examples
    window: str  # "1 204 prompts, answered by the target"

    def digests(self) -> dict[str, str]:
        """Of each part."""
        parts = {"train": self.train, "development": self.development, "validation": self.validation}
        return {name: examples.digest() for name, examples in parts.items()}


@dataclass(frozen=True)
class Writers:
    """The models that write and score; loaded when the first text is missing."""

    target: Callable[[], LanguageModel]
    student: Callable[[], LanguageModel]


def from_prompts(
    prompts: Prompts, source: Source, how: Writing, writers: Writers, stamp: str, folder: Path, told: Told
) -> Material:
    """Write and score what is not in ``folder`` yet. Held-out texts are the target's own, whoever writes the others.

    Args:
        stamp: of the models.
    """

    def part(name: str, chosen: Sequence[Prompt], by: Source) -> Examples:
        return written(name, chosen, by, how, writers, stamp, folder, told)

    train = part("train", prompts.train, source)
    development = part("development", prompts.development, "teacher")
    validation = part("validation", prompts.validation, "teacher")
    author = {"teacher": "answered by the target", "student": "answered by the draft", "data": "with their responses"}
    window = f"{len(prompts.train):,} prompts, {author.get(source, f'answered by target and draft ({source})')}"
    return Material(train, development, validation, window)


def written(
    name: str,
    prompts: Sequence[Prompt],
    by: Source,
    how: Writing,
    writers: Writers,
    stamp: str,
    folder: Path,
    told: Told,
) -> Examples:
    """Texts after ``prompts`` with the target's laws; what is in ``folder`` already is not written again."""
    made_from = json.dumps([stamp, by, repr(how), digest(prompts)])
    place = folder / f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
    return _in_parts(prompts, place, lambda some: _written(some, by, how, writers), lambda n, m: told(name, n, m))


def from_trace_log(
    traces: Iterable[SpeculationTrace], wrong_only: bool, folder: Path, limit: int | None = None
) -> Material:
    """Traces as they are now, kept in ``folder``: a log that grows meanwhile changes nothing.

    A tenth of the prompts, always the same ones, is for development, another for validation.

    Raises:
        CorpusError: too few traces.
    """
    files = {name: folder / f"{name}.safetensors" for name in ("train", "development", "validation")}
    note = folder / "window.json"
    if not note.is_file():
        sorted_: dict[str, list[SpeculationTrace]] = {name: [] for name in files}
        for number, trace in enumerate(traces):
            if limit is not None and number == limit:
                break
            if trace.answer_ids:
                sorted_[part_of(trace)].append(trace)
        for name, chosen in sorted_.items():
            if not chosen:
                raise CorpusError(f"too few traces: none for {name}", do="serve more requests of this topic first")
            learned = from_traces(chosen, wrong_only) if name == "train" else from_traces(chosen, wrong_weight=1.0)
            learned.save(files[name])
        count = sum(map(len, sorted_.values()))
        write_whole(note, json.dumps(f"{count:,} traces" + (", wrong positions only" if wrong_only else "")))
    parts = {name: Examples.load(file) for name, file in files.items()}
    return Material(**parts, window=json.loads(note.read_text()))


def plain_text(prompts: Prompts, topic_only: bool) -> Examples:
    """Prompts and responses of the training split as they stand.

    Args:
        topic_only: the topic's, and no more others than it has; else everything.

    Raises:
        CorpusError: there are no responses.
    """
    own = [prompt for prompt in (*prompts.train, *prompts.development) if prompt.response]
    if not own:
        raise CorpusError("the data hold no responses to pre-train on", do="pass records with prompt and response")
    others = [prompt for prompt in prompts.others if prompt.response]
    texts = [*own, *(others[: len(own)] if topic_only else others)]
    return from_text([([*prompt.token_ids, *(prompt.response or [])], 0) for prompt in texts])


def part_of(trace: SpeculationTrace) -> str:
    """``train``, ``development`` or ``validation``, by the prompt alone."""
    return part_of_prompt(trace.token_ids[: trace.prompt_length])


def part_of_prompt(token_ids: list[int]) -> str:
    """As `part_of`, before there is an answer."""
    bucket = hashlib.sha256(repr(token_ids).encode()).digest()[0] % _TENTH
    return {0: "development", 1: "validation"}.get(bucket, "train")


def _written(some: Sequence[tuple[int, Prompt]], by: Source, how: Writing, writers: Writers) -> Examples:
    target = writers.target()
    return score(target, write(by, some, target, writers.student(), how))


def _in_parts(
    prompts: Sequence[Prompt],
    folder: Path,
    make: Callable[[Sequence[tuple[int, Prompt]]], Examples],
    told: Callable[[int, int], None],
) -> Examples:
    numbered = list(enumerate(prompts))
    found = []
    for start in range(0, len(numbered), _PART):
        file = folder / f"{start:06d}.safetensors"
        if not file.is_file():
            make(numbered[start : start + _PART]).save(file)
        found.append(Examples.load(file))
        told(min(start + _PART, len(numbered)), len(numbered))
    return join(found)
