"""One topic's draft as all parts of an update see it: settings, traces, registry, desk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoding.trace import SpeculationTrace
from decoding.trace_reader import Cursor
from drafts.learning import LearningSection
from training.gate import GateRule
from training.online.load import Throttle
from training.online.log import Log, Topics
from training.online.publish import Book
from training.online.split import is_held_out
from training.online.state import Desk
from training.online.trial import LENGTH


@dataclass(frozen=True)
class Setting:
    """What all topics of a deployment share.

    Attributes:
        tokenizer: a folder with the tokenizer that drafts are exported with: the target's.
        tags: target and tokenizer fingerprints.
        between: called between two steps; may pause, may raise `training.online.load.Stopped`.
        say: is told of progress.
        document: the resolved configuration, kept with runs.
        length: tokens of a proposal in replays.
    """

    learning: LearningSection
    log: Log
    tokenizer: Path
    tags: Mapping[str, str]
    between: Throttle
    say: Callable[[str], None] = lambda _: None
    document: Mapping[str, Any] | None = None
    length: int = LENGTH
    rule: GateRule | None = None


@dataclass(frozen=True)
class Subject:
    """One draft.

    Attributes:
        topics: whose traces it learns from.
        others: all other topics of the deployment, whose traces it may replay.
    """

    setting: Setting
    book: Book
    desk: Desk
    topics: Topics
    others: Topics

    def say(self, text: str) -> None:
        """Tell of progress."""
        self.setting.say(f"{self.book.topic}: {text}")

    def count(self, after: Cursor) -> int:
        """Traces of the topic since."""
        return self.setting.log.count(self.topics, after)

    def lesson(self, topics: Topics, after: Cursor, until: Cursor) -> list[SpeculationTrace]:
        """Traces between two places that may be learned from."""
        share = self.setting.learning.heldout_share
        return [each for each in self.setting.log.read(topics, after, until) if not is_held_out(each, share)]

    def held_out(self, after: Cursor) -> list[SpeculationTrace]:
        """The first held-out traces from a place on, as many as the gate will look at."""
        share, most = self.setting.learning.heldout_share, (self.setting.rule or GateRule()).most_requests
        found: list[SpeculationTrace] = []
        for trace in self.setting.log.read(self.topics, after):
            if len(found) == most:
                break
            if is_held_out(trace, share):
                found.append(trace)
        return found
