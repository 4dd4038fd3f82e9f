"""The worker's watch over drafts that have just taken over (`drafts.canary`), and their way back."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from configs.errors import PolydraftError
from decoding.costs import StepCosts
from decoding.model import LanguageModel
from decoding.native.memory import give_back
from decoding.request import Request, SpeculationCounts, StepOutput
from drafts.canary import CanaryRule, Checks, Cusum, shortfall
from drafts.model_drafter import ModelDrafter
from drafts.pool import DraftPool, DraftSpec

logger = logging.getLogger(__name__)

Loaded = tuple[DraftSpec, ModelDrafter]
_MOST_READERS = 8  # beyond the memory that drafts may use


@dataclass(frozen=True, slots=True)
class WayBack:
    """A version that did worse than the one before it, which serves again."""

    name: str
    left: str  # "sql@v9"
    back: str  # "sql@v8"
    reason: str


@dataclass(slots=True)
class _Watch:
    """One draft under observation, and the version before it, held in the pool for its share of requests."""

    now: DraftSpec
    before: Loaded
    held: str
    cusum: Cusum
    num_routed: int = 0
    num_finished: int = 0
    running: dict[str, Checks] = field(default_factory=dict)
    counts: list[SpeculationCounts] = field(default_factory=list)  # of the last finished requests
    reason: str = ""  # why to go back
    is_over: bool = False  # nobody asks any more; answers that wait to be read hold the version before


@dataclass(frozen=True, slots=True)
class _Answer:
    watch: _Watch
    token_ids: list[int]
    prompt_length: int
    found: Checks


class Canaries:
    """Watches every draft that takes over; used by the step loop's thread alone, between steps.

    The version before reads finished answers in a thread of its own, and there as a model of its own, since a model
    runs one forward at a time.

    Args:
        share: of a topic's requests that stay with the version before.
        costs: of steps; None where no controller knows them, and speculation is not asked to pay.
        load: makes the model that reads, one text at a time; None makes one as the pool does, for many.
    """

    def __init__(
        self,
        pool: DraftPool,
        rule: CanaryRule,
        share: float = 0.1,
        costs: StepCosts | None = None,
        load: Callable[[Path], LanguageModel] | None = None,
    ):
        self._pool, self._rule, self._share, self._costs, self._load = pool, rule, share, costs, load
        self._watches: dict[str, _Watch] = {}
        self._retired: list[tuple[str, str]] = []
        self._unread: SimpleQueue[_Answer] = SimpleQueue()
        # Started here, not when there is something to read: the step loop's thread may have a core to itself by then,
        # and a thread begins on the cores of the one that starts it.
        if rule.most_requests:
            Thread(target=self._read_forever, name="canary", daemon=True).start()

    def __bool__(self) -> bool:
        return bool(self._watches or self._retired)

    def begin(self, before: Loaded, now: DraftSpec) -> None:
        """``now`` has just replaced ``before`` under one name; what was watched there is not any more."""
        self._stop(now.name)
        if not self._rule.most_requests or before[0].label == now.label:
            return
        held = self._pool.hold(*before)
        self._retired = [each for each in self._retired if each[0] != held]
        self._watches[now.name] = _Watch(now, before, held, Cusum(self._rule))

    def version_for(self, draft: str | None) -> str | None:
        """Under which name a request that was routed to ``draft`` finds it: one in so many stays with the old one."""
        watch = self._watches.get(draft or "")
        if watch is None:
            return draft
        watch.num_routed += 1
        stays = int(watch.num_routed * self._share) > int((watch.num_routed - 1) * self._share)
        return watch.held if stays else draft

    def note(self, outputs: Iterable[StepOutput]) -> None:
        """Take in what a step has brought."""
        for output in outputs:
            request = output.request
            if (watch := self._watches.get(output.drafter)) is not None:
                written = len(request.token_ids) - len(request.prompt_token_ids)
                found = watch.running.setdefault(request.request_id, Checks())
                found.add(written - len(output.token_ids), output.origins)
            if output.finish_reason is not None:
                self.end(request)

    def end(self, request: Request) -> None:
        """Nothing more comes of this request."""
        for watch in self._watches.values():
            found = watch.running.pop(request.request_id, None)
            if found is None:
                continue
            watch.num_finished += 1
            self._look_at_speed(watch, request.counts)
            if found.places and request.sampling.is_plain:
                self._unread.put(_Answer(watch, list(request.token_ids), len(request.prompt_token_ids), found))

    def forget(self, request_id: str) -> None:
        """It was given up; what it has shown is not counted. Unknown ids are fine."""
        for watch in self._watches.values():
            watch.running.pop(request_id, None)

    def decide(self) -> list[WayBack]:
        """Versions that are given up, in whose place the ones before propose again; others pass after their time."""
        backs = []
        for name, watch in list(self._watches.items()):
            before, drafter = watch.before
            if watch.reason:
                logger.warning("%s %s; %s serves again", watch.now.label, watch.reason, before.label)
                self._stop(name)
                drafter.clear()
                self._pool.replace(before, drafter)
                backs.append(WayBack(name, watch.now.label, before.label, watch.reason))
            elif watch.num_finished >= self._rule.most_requests:
                logger.info("%s has passed its first %d requests", watch.now.label, watch.num_finished)
                self._stop(name)
        return backs

    def retired(self) -> list[tuple[str, str]]:
        """Names that were held, and those under which their requests find a draft from now on; told once."""
        retired, self._retired = self._retired, []
        return retired

    def _stop(self, name: str) -> None:
        if (watch := self._watches.pop(name, None)) is not None:
            self._retired.append((watch.held, name))
            watch.is_over = True

    def _look_at_speed(self, watch: _Watch, counts: SpeculationCounts) -> None:
        watch.counts.append(counts)
        if self._costs is None or len(watch.counts) < self._rule.floor_requests:
            return
        speedup = speedup_of(SpeculationCounts.total(watch.counts), self._costs)
        watch.counts.clear()
        if speedup < self._rule.least_speedup:
            watch.reason = f"costs more than it gains: {speedup:.2f}x over {self._rule.floor_requests} requests"

    def _read_forever(self) -> None:
        readers: dict[str, LanguageModel] = {}  # least recently used first
        while True:
            answer = self._unread.get()
            if answer.watch.is_over:
                continue
            watch, (before, _) = answer.watch, answer.watch.before
            try:
                model = self._reader(readers, before)
                if len(answer.token_ids) > model.cache.max_length:
                    continue
                found = shortfall(model, answer.token_ids, answer.prompt_length, answer.found)
            except (PolydraftError, OSError) as error:
                logger.error("%s cannot be compared with %s: %s", watch.now.label, before.label, error)
                continue
            if watch.cusum.add(found):
                mean, count = watch.cusum.mean, watch.cusum.count
                watch.reason = f"proposes {mean:.0%} fewer right tokens than {before.label} over {count} requests"

    def _reader(self, readers: dict[str, LanguageModel], before: DraftSpec) -> LanguageModel:
        """Kept while its version is compared with: answers of several topics come by turns, and a load takes longer."""
        reader = readers.pop(before.label, None) or self._loaded(before)
        compared = {watch.before[0].label for watch in list(self._watches.values())}
        for label in [each for each in readers if each not in compared]:
            del readers[label]
        while len(readers) >= _MOST_READERS:
            del readers[next(iter(readers))]
        readers[before.label] = reader
        return reader

    def _loaded(self, before: DraftSpec) -> LanguageModel:
        if self._load is None:
            return self._pool.loaded(before).model
        try:
            return self._load(before.folder)
        finally:
            give_back()


def speedup_of(counts: SpeculationCounts, costs: StepCosts) -> float:
    """Tokens over what they cost in plain runs, for one request at a time."""
    runs = max(1, counts.num_target_runs)
    drafted = counts.num_draft_tokens - counts.num_copied_tokens
    target = runs * costs.target_run(1) + counts.num_draft_tokens * (costs.target_run(2) - costs.target_run(1))
    return counts.num_generated_tokens * costs.target_run(1) / (target + drafted * costs.draft_step(1))
