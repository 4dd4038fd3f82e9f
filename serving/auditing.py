"""The run-time lossless audit: some greedy answers are decoded once more without drafts, when nothing else is to do.

It is an internal request of a loop of its own on the same target, stepped only while no other runs. So it gives way
between two of its tokens, keeps what it has read in a slot meanwhile, and gives up that slot if somebody waits for one.
"""

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from decoding.device.loop import make_loop
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams, StepOutput
from serving.drawing import is_drawn
from serving.wire import AuditState

logger = logging.getLogger(__name__)

_MOST_WAITING = 64  # answers; beyond it the oldest is not looked at
_MOST_ROWS = 32  # of a prompt read at once: so long may a request have to wait that arrives meanwhile
_NAME = "audit"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was said with drafts; ``is_whole`` if the loop ended it, and not a stop string."""

    request_id: str
    drafter: str
    prompt: list[int]
    sampling: SamplingParams
    said: list[int]
    is_whole: bool


class Auditor:
    """Samples finished greedy answers and compares them with plain decoding, token by token.

    Args:
        target: of the loop that gave the answers.
        share: of the greedy answers in which anything was proposed.
    """

    def __init__(self, target: LanguageModel, share: float):
        self._target, self._share = target, share
        self._loop = make_loop(target, {}, 0)
        self._loop.max_rows = _MOST_ROWS
        self._waiting: deque[_Answer] = deque()
        self._current: _Answer | None = None
        self.state = AuditState()

    @property
    def has_work(self) -> bool:
        """Something waits to be compared."""
        return bool(self._current or self._waiting)

    @property
    def num_slots(self) -> int:
        """Slots of the target's cache that the audit holds for now, and gives up when asked."""
        return self._loop.num_running

    def note(self, outputs: Iterable[StepOutput]) -> None:
        """Take in what a step of the real requests has ended."""
        for output in outputs:
            if output.finish_reason is not None:
                self.consider(output.request)

    def consider(self, request: Request, is_whole: bool = True) -> None:
        """Keep an answer that has ended, if it can be compared and is drawn; whole unless a stop string cut it."""
        drawn = is_drawn(f"{_NAME} {request.request_id}", self._share)
        if not (drawn and request.sampling.is_greedy and request.counts.num_drafts):
            return
        if len(self._waiting) == _MOST_WAITING:
            self._waiting.popleft()
            self._count(AuditState(dropped=1))
        said, drafter = request.generated, request.drafter or ""
        self._waiting.append(
            _Answer(request.request_id, drafter, request.prompt_token_ids, request.sampling, said, is_whole)
        )

    def make_room(self, num_waiting: int) -> None:
        """Give up the slot if real requests wait for one; the comparison begins anew later."""
        if num_waiting and self._current is not None and not self._target.cache.num_free:
            self._loop.cancel(_NAME)
            self._waiting.appendleft(self._current)
            self._current = None

    def advance(self) -> None:
        """One target run; to be called while no real request is there."""
        if self._current is None:
            if not self._waiting or not self._target.cache.num_free:
                return
            self._begin(self._waiting.popleft())
        for output in self._loop.step():
            self._compare(output)

    def give_up(self) -> None:
        """After a step that raised: not this answer again."""
        if self._current is not None:
            self._end(AuditState(dropped=1))

    def _begin(self, answer: _Answer) -> None:
        self._current = answer
        sampling = replace(answer.sampling, num_logprobs=2)
        self._loop.admit(Request(_NAME, answer.prompt, sampling, SeededRandomness(sampling.seed)))

    def _compare(self, output: StepOutput) -> None:
        answer = self._current
        assert answer is not None
        position = len(output.request.generated) - 1  # without drafts a run gives one token
        is_last = position == len(answer.said) - 1
        ends_alike = output.finish_reason is not None or not answer.is_whole
        if output.token_ids != [answer.said[position]] or (is_last and not ends_alike):
            (_, best), (_, second) = output.logprobs[0].top
            logger.error(
                "audit: answer %s, drafted by %s, differs from plain decoding at token %d (top-two gap %.2e)",
                *(answer.request_id, answer.drafter, position, best - second),
            )
            self._end(AuditState(1, position, 1, round(best - second, 6)))
        elif is_last:
            self._end(AuditState(1, len(answer.said)))

    def _end(self, found: AuditState) -> None:
        self._loop.cancel(_NAME)
        self._current = None
        self._count(found)

    def _count(self, found: AuditState) -> None:
        known = self.state
        self.state = AuditState(
            known.answers + found.answers,
            known.tokens + found.tokens,
            known.mismatches + found.mismatches,
            max(known.largest_gap, found.largest_gap),
            known.dropped + found.dropped,
        )
