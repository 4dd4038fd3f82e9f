"""Streams of a toy target, as a step loop with the recorder leaves them, and drafts that do not know them yet."""

import random
import shutil
from pathlib import Path

from decoding.load import load_draft, load_model
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from decoding.trace import SpeculationTrace
from decoding.trace_log import LogLimits, TraceLog
from decoding.trace_recorder import TraceRecorder
from drafts.learning import LearningSection
from drafts.model_drafter import ModelDrafter
from registry.store import Registry
from tests.serving.toy_folder import write_model, write_toy
from training.gate import GateRule
from training.online.load import Throttle
from training.online.log import Log
from training.online.publish import Book
from training.online.state import Desk
from training.online.subject import Setting, Subject

FINGERPRINT = "f" * 64
MODEL = "starter-draft-sql"
TOKENS = 16
LESSON = LearningSection(enabled=True, every_requests=100, steps=25, learning_rate=1e-2, ema=0.8, heldout_share=0.4)


def write_models(folder: Path) -> tuple[Path, Path]:
    """A target, and a draft with its tokenizer and weights that say nothing of it."""
    target = write_toy(folder / "target", seed=0, layers=1)
    draft = folder / "draft"
    shutil.copytree(target, draft)
    write_model(draft, seed=9, layers=1)
    return target, draft


def stream(
    target: Path,
    draft: Path,
    requests: int,
    topic: str | None = "sql",
    seed: int = 0,
    temperature: float = 0.8,
    fingerprint: str = FINGERPRINT,
) -> list[SpeculationTrace]:
    """Answers to random prompts, drafted by ``draft``, in the order in which they ended."""
    found: list[SpeculationTrace] = []
    slots, room = 16, TOKENS + 8
    recorder = TraceRecorder(fingerprint, found.append, top=16, label=lambda name: f"{name}@v1")
    drafter = ModelDrafter(load_draft(draft, slots, room))
    loop = StepLoop(load_model(target, slots, room), {"sql": drafter}, 3, recorder=recorder)
    draw = random.Random(seed)
    sampling = SamplingParams(temperature=temperature, max_tokens=TOKENS, stop_token_ids=frozenset({0}))
    loop.run(
        [
            Request(
                f"{seed}-{number}",
                [draw.randrange(3, 70) for _ in range(4)],
                sampling,
                SeededRandomness(seed * 100_000 + number),
                drafter="sql",
                is_traced=True,
                topic=topic,
            )
            for number in range(requests)
        ]
    )
    return found


def write_log(folder: Path, traces: list[SpeculationTrace]) -> None:
    """Append, in one segment."""
    log = TraceLog(folder, LogLimits(), queue_length=len(traces) + 1)
    for trace in traces:
        log.append(trace)
    log.close()


def make_subject(
    place: Path,
    target: Path,
    registry: Registry,
    rule: GateRule | None = None,
    between: Throttle | None = None,
    **changes: object,
) -> Subject:
    """The learner of topic sql, its log and its desk in ``place``; ``changes`` are settings."""
    setting = Setting(
        learning=LESSON.model_copy(update=changes),
        log=Log(place / "log", FINGERPRINT),
        tokenizer=target,
        tags={"target": FINGERPRINT, "tokenizer": "t"},
        between=between or Throttle(),
        rule=rule,
    )
    return Subject(setting, Book(registry, "starter", "sql", MODEL), Desk(place / "desk"), ["sql"], ["math", None])
