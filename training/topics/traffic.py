"""Recorded answers with the queries that asked for them: what topics are found in, and what drafts learn from."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from configs.errors import ConfigError
from decoding.load import load_model
from decoding.randomness import SeededRandomness
from decoding.request import FinishReason, Origin, Request, SamplingParams
from decoding.step_loop import StepLoop
from decoding.trace import SpeculationTrace
from decoding.trace_reader import TraceReader
from decoding.trace_segment import Segment, list_segments, segment_name
from decoding.trace_segment import encode as encode_traces
from training.experiments.material import record
from training.labels.questions import PromptText
from training.online.split import is_held_out
from training.starter.answers import TOP, Answers

HELD_OUT = 0.2  # of the prompts of a trace log
_GREEDY_OF_FIVE = 3  # answers of `training.starter.answers`
_SLOTS, _PART = 16, 64  # requests decoded at once, and traces a file: what a kill may cost

Told = Callable[[str], None]


@dataclass(frozen=True)
class Traffic:
    """Answers, oldest first, and the text of each query."""

    traces: tuple[SpeculationTrace, ...]
    queries: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.traces)

    @property
    def topics(self) -> tuple[str, ...]:
        """Of each answer, as recorded; empty where nobody knew."""
        return tuple(trace.topic or "" for trace in self.traces)

    def at(self, places: Iterable[int]) -> "Traffic":
        """Some of it, in the order given."""
        chosen = list(places)
        return Traffic(tuple(self.traces[i] for i in chosen), tuple(self.queries[i] for i in chosen))

    def of(self, topic: str) -> "Traffic":
        """The answers of one topic."""
        return self.where(lambda trace: trace.topic == topic)

    def where(self, wanted: Callable[[SpeculationTrace], bool]) -> "Traffic":
        """The answers that are ``wanted``."""
        return self.at(place for place, trace in enumerate(self.traces) if wanted(trace))


def traffic_of(traces: Iterable[SpeculationTrace], text_of: PromptText) -> Traffic:
    """Traces with the text of their queries; answers that no draft can be scored on are left out."""
    kept = tuple(trace for trace in traces if trace.answer_ids and trace.sampling.lossy is None)
    return Traffic(kept, tuple(text_of(trace) for trace in kept))


def read_log(folder: Path, text_of: PromptText, target: str, most: int | None = None) -> Traffic:
    """The newest traces of a target.

    Raises:
        ConfigError: there is no such folder, or nothing of this target in it.
    """
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder} of traces", do="serve with traces.enabled: true, or pass --traces DIR")
    number = sum(1 for _ in TraceReader(folder, target=target).entries())
    if not number:
        raise ConfigError(f"{folder} has no traces of this deployment's target", do="pass another --traces DIR")
    skipped = 0 if most is None else max(0, number - most)
    newest = (trace for place, trace in enumerate(TraceReader(folder, target=target)) if place >= skipped)
    return traffic_of(newest, text_of)


def split(traffic: Traffic, share: float = HELD_OUT) -> tuple[Traffic, Traffic]:
    """What may be learned from, and what is held out: by the prompt, so that no prompt is in both."""
    return (
        traffic.where(lambda trace: not is_held_out(trace, share)),
        traffic.where(lambda trace: is_held_out(trace, share)),
    )


def from_answers(
    answers: Mapping[str, Answers], text_of: PromptText, target: str, greedy_only: bool = False
) -> Traffic:
    """Answers on disk, by topic, as traces.

    Args:
        greedy_only: leave out those that were drawn. They can be learned from but not replayed: with what probability
            they were drawn is not on disk.
    """
    found = [
        _as_trace(each, number, topic, target)
        for topic, each in answers.items()
        for number in range(len(each))
        if not greedy_only or number % 5 < _GREEDY_OF_FIVE
    ]
    return traffic_of(found, text_of)


def _as_trace(answers: Answers, number: int, topic: str, target: str) -> SpeculationTrace:
    start, end = answers.starts[number : number + 2].tolist()
    first = int(answers.answer_starts[number])
    count = end - first
    emitted = answers.token_ids[first:end, None]
    law_ids, law_probs = answers.top_ids[first - 1 : end - 1], answers.top_probs[first - 1 : end - 1]
    probs = (law_probs.float() * (law_ids == emitted)).sum(dim=-1)  # 0 where it is not among the most probable
    return SpeculationTrace(
        token_ids=answers.token_ids[start:end].tolist(),
        prompt_length=first - start,
        origins=[Origin.PLAIN] * count,
        run_lengths=[1] * count,
        probs=probs,
        drawn_probs=torch.ones(count),
        top_ids=law_ids,
        top_probs=law_probs,
        sampling=SamplingParams(temperature=0.0 if number % 5 < _GREEDY_OF_FIVE else 0.8, max_tokens=count),
        finish_reason=FinishReason.STOP,
        topic=topic,
        draft=None,
        target=target,
    )


@dataclass(frozen=True)
class Asking:
    """The target that answers prompts, and where its answers are kept as they come.

    Attributes:
        target: its folder, ``fingerprint`` its weights'.
        end: the token that ends an answer.
        temperature: 0 for its one greedy answer; else ``seed`` tells answers to one prompt apart.
    """

    target: Path
    fingerprint: str
    end: int
    work: Path
    max_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0

    def answers(self, prompts: Sequence[tuple[str, list[int]]], told: Told = lambda _: None) -> list[SpeculationTrace]:
        """Traces of (topic, prompt); those that are in ``work`` already are read."""
        found: list[SpeculationTrace] = []
        model: Any = None
        longest = max((len(ids) for _, ids in prompts), default=1) + self.max_tokens
        for start in range(0, len(prompts), _PART):
            part = prompts[start : start + _PART]
            drawn = [self.temperature, self.seed] if self.temperature else []
            folder = self.work / _digest([self.fingerprint, self.max_tokens, self.end, part, *drawn])
            if not list_segments(folder):
                model = model or load_model(self.target, _SLOTS, longest)
                write_traces(folder, list(self._ask(model, part)))
            found += _read(folder)
            told(f"answers: {min(start + _PART, len(prompts))} of {len(prompts)}")
        return found

    def _ask(self, model: Any, part: Sequence[tuple[str, list[int]]]) -> Iterator[SpeculationTrace]:
        ends = frozenset({self.end})
        sampling = SamplingParams(temperature=self.temperature, max_tokens=self.max_tokens, stop_token_ids=ends)
        requests = [
            Request(str(number), prompt, sampling, SeededRandomness(_PART * self.seed + number))
            for number, (_, prompt) in enumerate(part)
        ]
        StepLoop(model, {}).run(requests)
        for request, (topic, _) in zip(requests, part, strict=True):
            yield record(model, request, topic, self.fingerprint, TOP)


def _digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def write_traces(folder: Path, traces: Sequence[SpeculationTrace]) -> None:
    """A log of one segment, whole or not at all."""
    data = encode_traces([(0.0, trace) for trace in traces])
    folder.mkdir(parents=True, exist_ok=True)
    (fresh := folder / "new").write_bytes(data)
    fresh.replace(folder / segment_name(0, data))


def _read(folder: Path) -> list[SpeculationTrace]:
    segments = [Segment(path) for _, path in list_segments(folder)]
    return [segment.trace(index) for segment in segments for index in range(len(segment.entries))]
