"""Shadow scoring: what the drafts that were not chosen would have cost on a sampled share of live traffic.

It runs in the process that follows the traces, never in the step loop. What comes of it is a growing table of labels
(`router.costs`) and ``shadow.json``: the place in the log, and what the router's choices have cost beside every
prompt's best draft. The table is saved first: after a kill between the two, the same traces are looked at again, and
nothing is counted twice.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from configs.console import write_whole
from configs.errors import ConfigError, RouterError
from decoding.checkpoint import fingerprint
from decoding.load import load_draft
from decoding.trace import SpeculationTrace
from decoding.trace_reader import Cursor, TraceReader
from decoding.trace_segment import list_segments
from drafts.pool import DraftSpec
from router.costs import HEADER, CostTable, merge
from training.labels.questions import Question
from training.labels.regret import Regret
from training.labels.scores import ScoreBook
from training.labels.table import LONGEST, tabulate
from training.online.log import Log
from training.replay import Acceptance

STATE = "shadow.json"
_SLOTS = 16
_AT_ONCE = 16  # traces between two looks at the load
_A_CYCLE = 128  # traces, so that drafts may learn in between


@dataclass(frozen=True)
class Watch:
    """What is watched, and with whom.

    Attributes:
        log: folder of traces.
        target: its fingerprint.
        folder: for table and state.
        drafts: says which drafts there are now; asked at every cycle that has new traces.
        text_of: what the router read of a recorded prompt.
        share: of the traces.
        length: tokens of a proposal at which regret is counted.
        longest: answer with its prompt; longer ones are passed over.
        between: called every few traces; may wait, may raise `training.online.load.Stopped`.
        most: prompts in the table; the oldest leave.
    """

    log: Path
    target: str
    folder: Path
    drafts: Callable[[], dict[str, DraftSpec]]
    text_of: Callable[[SpeculationTrace], str]
    share: float = 0.05
    length: int = 4
    longest: int = 1024
    between: Callable[[], None] = lambda: None
    most: int = 5000


class Shadow:
    """Scores some of what is new at each cycle; one process a folder."""

    def __init__(self, watch: Watch):
        """Go on where the last process was.

        Raises:
            ConfigError: table or state are damaged.
        """
        self._watch = watch
        watch.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = _read(watch.folder / STATE)
        self._seen, self._counted = Cursor.parse(state["seen"]), Cursor.parse(state["counted"])
        self.regret = Regret.parse(state)
        self.table = _load(watch.folder)
        self._books: dict[str, tuple[DraftSpec, ScoreBook]] = {}

    def cycle(self) -> None:
        """Score some of what is new; returns at once where nothing is.

        Raises:
            PolydraftError: the registry, or a draft in it, cannot be used.
            Stopped: somebody asked for the end; what was replayed is kept.
        """
        segments = list_segments(self._watch.log)
        if not self._watch.share or not segments or segments[-1][0] < self._seen.segment:
            return
        books = self._current()
        reader = TraceReader(self._watch.log, target=self._watch.target, cursor=self._seen)
        found: list[tuple[SpeculationTrace, bool]] = []
        for trace in reader:
            if self._wants(trace):
                found.append((trace, reader.cursor > self._counted))
            if len(found) == _A_CYCLE:
                break
        if found:
            self._score(books, found)
        self._seen = reader.cursor
        self._counted = max(self._counted, self._seen)
        self._keep()

    def _wants(self, trace: SpeculationTrace) -> bool:
        fits = trace.sampling.lossy is None and len(trace.token_ids) <= self._watch.longest
        return fits and is_sampled(trace, self._watch.share)

    def _current(self) -> dict[str, ScoreBook]:
        """A book for each draft as it is now. Of a new version the newest prompts are scored again: only by itself."""
        drafts = self._watch.drafts()
        for name, spec in drafts.items():
            if name not in self._books or self._books[name][0] != spec:
                load = partial(load_draft, spec.folder, _SLOTS, self._watch.longest)
                place = self._watch.folder / "acceptances"
                self._books[name] = spec, ScoreBook(place, fingerprint(spec.folder), load)
        self._books = {name: self._books[name] for name in drafts}
        if self.table is not None:
            known = dict(zip(self.table.drafts, self.table.versions, strict=True))
            versions = {name: spec.label for name, spec in drafts.items()}
            if known != versions:
                wanted = int(len(self.table) / self._watch.share)
                log = Log(self._watch.log, self._watch.target)
                topics = log.topics(Cursor(), self._seen)
                self._seen = log.start_of_newest(topics, wanted, Cursor(), self._seen)
                self.table = self._adopt(self.table, versions)
        return {name: book for name, (_, book) in self._books.items()}

    def _adopt(self, table: CostTable, versions: dict[str, str]) -> CostTable:
        """The same prompts under the drafts of now; what another version would have cost is not known."""
        columns = tuple(versions), tuple(versions.values())
        empty = CostTable((), (), *columns, np.zeros(0, np.int64), np.zeros((0, len(versions), LONGEST + 1)))
        return merge([table, empty]).select(tuple(versions))

    def _score(self, books: dict[str, ScoreBook], found: Sequence[tuple[SpeculationTrace, bool]]) -> None:
        traces = [trace for trace, _ in found]
        scores: dict[str, list[Acceptance]] = {}
        for name, book in books.items():
            scores[name] = []
            for start in range(0, len(traces), _AT_ONCE):
                self._watch.between()
                scores[name] += book.scores(traces[start : start + _AT_ONCE])
            book.prune(2 * self._watch.most)
        questions = [Question(self._watch.text_of(trace), trace.topic or "") for trace in traces]
        versions = {name: spec.label for name, (spec, _) in self._books.items()}
        fresh = tabulate(questions, scores, versions)
        length = min(self._watch.length, fresh.longest)
        for row, (trace, is_new) in enumerate(found):
            if is_new:
                runs = {name: float(fresh.runs[row, d, length]) for d, name in enumerate(fresh.drafts)}
                self.regret.add(trace.topic, trace.draft, int(fresh.tokens[row]), runs)
        last = {text: row for row, text in enumerate(fresh.texts)}
        fresh = fresh.rows(sorted(last.values()))
        table = merge([self.table, fresh]) if self.table is not None else fresh
        self.table = table.rows(range(max(0, len(table) - self._watch.most), len(table)))

    def _keep(self) -> None:
        if self.table is not None:
            self.table.save(self._watch.folder)
        state = {
            "seen": str(self._seen),
            "counted": str(self._counted),
            "length": self._watch.length,
            "share": self._watch.share,
            **self.regret.document(),
        }
        write_whole(self._watch.folder / STATE, json.dumps(state, indent=1) + "\n")


def is_sampled(trace: SpeculationTrace, share: float) -> bool:
    """Whether a trace is one of the share that is scored: decided by its text, so once and for all."""
    # The last bytes: which prompts are held out for the gate is decided by the first ones of another digest.
    digest = hashlib.sha256(b"shadow" + repr(trace.token_ids).encode()).digest()
    return int.from_bytes(digest[-8:]) / (1 << 64) < share


def _load(folder: Path) -> CostTable | None:
    try:
        return CostTable.load(folder) if (folder / HEADER).is_file() else None
    except RouterError as error:
        raise ConfigError(error.what, do=f"rm -r {folder}    and start again") from error


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {"seen": str(Cursor()), "counted": str(Cursor()), **Regret().document()}
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for key in ("seen", "counted"):
            Cursor.parse(found[key])
        Regret.parse(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file} is damaged", do=f"rm {file}    and start again") from error
    return found
