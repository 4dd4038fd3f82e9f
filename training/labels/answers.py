"""The target's own answers to prompts, asked for once and kept as traces, piece by piece."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from decoding.trace import SpeculationTrace
from decoding.trace_reader import TraceReader
from decoding.trace_recorder import TraceRecorder
from decoding.trace_segment import encode, segment_name

PIECE = 64  # answers a file: what a kill may cost

Told = Callable[[int, int], None]  # done, in all
Prompt = tuple[int, ...]


@dataclass(frozen=True)
class Asking:
    """How the target is asked.

    Attributes:
        target: its fingerprint.
        seed: of answers that are drawn; each prompt's own randomness follows from it and the prompt.
    """

    target: str
    end_token_ids: frozenset[int]
    temperature: float = 0.0
    max_tokens: int = 128
    seed: int = 0

    @property
    def sampling(self) -> SamplingParams:
        return SamplingParams(
            temperature=self.temperature, max_tokens=self.max_tokens, stop_token_ids=self.end_token_ids
        )

    @property
    def name(self) -> str:
        """Of the folder of such answers."""
        words = repr((self.target, sorted(self.end_token_ids), self.temperature, self.max_tokens, self.seed))
        return hashlib.sha256(words.encode()).hexdigest()[:16]


@dataclass
class AnswerBook:
    """Answers in a folder, by prompt.

    Attributes:
        folder: of all answers; those of other targets or settings lie beside, and are left alone.
        load_target: called when the first answer is missing.
        num_asked: prompts that the target has answered since this object was made.
    """

    folder: Path
    how: Asking
    load_target: Callable[[], LanguageModel]
    num_asked: int = 0
    _known: dict[Prompt, SpeculationTrace] | None = field(default=None, repr=False)

    def answers(self, prompts: Sequence[Sequence[int]], told: Told = lambda *_: None) -> list[SpeculationTrace]:
        """The target's answer to each prompt; what was missing is kept every few answers.

        Raises:
            ValueError: a prompt does not fit beside its answer into the target's cache.
        """
        known = self._read()
        missing = [prompt for prompt in dict.fromkeys(map(tuple, prompts)) if prompt not in known]
        target = self.load_target() if missing else None
        for start in range(0, len(missing), PIECE):
            assert target is not None
            made = self._ask(target, missing[start : start + PIECE])
            self._keep(made)
            known.update({_prompt(trace): trace for trace in made})
            self.num_asked += len(made)
            told(self.num_asked, len(missing))
        return [known[tuple(prompt)] for prompt in prompts]

    def _read(self) -> dict[Prompt, SpeculationTrace]:
        if self._known is None:
            self._known = {_prompt(trace): trace for trace in TraceReader(self._place, target=self.how.target)}
        return self._known

    @property
    def _place(self) -> Path:
        return self.folder / self.how.name

    def _ask(self, target: LanguageModel, prompts: Sequence[Prompt]) -> list[SpeculationTrace]:
        made: list[SpeculationTrace] = []
        loop = StepLoop(target, {}, recorder=TraceRecorder(self.how.target, made.append, top=1))
        requests = [
            Request(str(number), list(prompt), self.how.sampling, self._randomness(prompt), is_traced=True)
            for number, prompt in enumerate(prompts)
        ]
        loop.run(requests)
        return made

    def _randomness(self, prompt: Prompt) -> SeededRandomness:
        """The same whichever prompts are answered beside it."""
        return SeededRandomness(int.from_bytes(hashlib.sha256(repr((self.how.seed, prompt)).encode()).digest()[:7]))

    def _keep(self, made: Sequence[SpeculationTrace]) -> None:
        now = time.time_ns()
        data = encode([(now / 1e9, trace) for trace in made])
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._place / segment_name(now, data)
        unfinished = file.with_suffix(".part")
        unfinished.write_bytes(data)
        unfinished.replace(file)


def _prompt(trace: SpeculationTrace) -> Prompt:
    return tuple(trace.token_ids[: trace.prompt_length])
