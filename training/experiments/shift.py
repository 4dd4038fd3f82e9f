"""Streams whose topic shifts, before drafts that stay as they are, drafts that learn, and drafts that knew before.

The pooled draft has learned ``EARLY`` topics; `CAST` names those of the streams. Requests are greedy answers to
training prompts whose answers no draft was trained on before. Steps and learning rate of the updates were chosen on
`TUNING`, whose first and late topic are in no stream that is reported.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

import torch

from configs.errors import CorpusError
from decoding.trace import SpeculationTrace
from drafts.learning import LearningSection
from training.experiments.arms import POOLED_RATE, TOPIC_RATE, Arm, arm_digest, train
from training.experiments.imbalance import SHARES
from training.experiments.material import Material
from training.experiments.shapes import SHIPPED
from training.experiments.shift_figures import alpha as alpha_of
from training.experiments.shift_figures import curve, of_topic, records_to_recover, tokens_per_run, worst_deficit
from training.experiments.shift_streams import Cast, Stream, needed, places, streams
from training.experiments.shift_systems import Learning, Outcomes, kept, prequential, static

EARLY = tuple(SHARES)
CAST = Cast(first="math", second="sql", late="medical")
TUNING = Cast(first="python", second="sql", late="chat")
PERCENTS = (10, 30, 50, 70, 100)
POOLED, SPECIALISED = "static pooled", "static specialised"
ROUTED, GATED, TOGETHER = "online routed", "online routed, gated", "online pooled"
SYSTEMS = (POOLED, SPECIALISED, ROUTED, GATED, TOGETHER)

Row = dict[str, Any]
Progress = Callable[[str], None]


def offline(percent: int) -> str:
    """Name of the control that was distilled on so much of the new topic's data beforehand."""
    return f"offline, {percent} %"


@dataclass(frozen=True)
class Shift:
    """All streams and systems of one material."""

    material: Material
    cast: Cast = CAST
    progress: Progress = field(default=lambda _: None)

    @cached_property
    def streams(self) -> dict[str, Stream]:
        return streams(self.cast, self.material.budget.shift.requests)

    @cached_property
    def requests(self) -> dict[str, list[SpeculationTrace]]:
        """Of each topic, as many as the stream that asks for most of it."""
        found = {}
        for topic, count in needed(self.streams).items():
            self.progress(f"{topic}: answers to {count} requests")
            found[topic] = self.material.unseen(topic, count)
            if len(found[topic]) < count:
                raise CorpusError(
                    f"{topic} has {len(found[topic])} prompts that no draft has learned from; its stream takes {count}",
                    do="pass --data a folder with more training prompts, or --quick",
                )
        return found

    def learning(self, gated: bool) -> Learning:
        """How drafts learn from a stream."""
        budget = self.material.budget.shift
        updates = budget.gated if gated else budget.published
        return Learning(LearningSection(**asdict(updates)), gated, self.seed)

    @property
    def seed(self) -> int:
        return self.material.budget.seeds[0]

    def pooled(self) -> Arm:
        """The draft of all topics but the late one."""
        early = tuple((topic, None) for topic in EARLY)
        return Arm(SHIPPED, early, self.material.budget.pooled_epochs, POOLED_RATE, self.seed)

    def distilled(self, topic: str, percent: int = 100) -> Arm:
        """The pooled draft, trained on by a share of a topic's answers."""
        own = ((topic, None if percent == 100 else percent / 100),)
        return Arm(SHIPPED, own, self.material.budget.topic_epochs, TOPIC_RATE, self.seed, start=self.pooled())

    def specialist(self, topic: str) -> Arm:
        """What serves a topic before anything is learned: the late one has no draft of its own."""
        return self.pooled() if topic == self.cast.late else self.distilled(topic)

    def static(self, arm: Arm, topic: str) -> Outcomes:
        """An arm on all requests of a topic."""
        traces = self.requests[topic]
        return self._kept("static", arm, traces, lambda: static(train(arm, self.material), traces))

    def online(self, arm: Arm, traces: Sequence[SpeculationTrace], gated: bool) -> Outcomes:
        """An arm that learns from a sequence of requests while it serves them."""
        learning = self.learning(gated)
        name = f"{learning!r}"
        return self._kept(name, arm, traces, lambda: prequential(train(arm, self.material), traces, learning))

    def routed(self, stream: Stream, outcomes: Callable[[str], Outcomes]) -> Outcomes:
        """Every topic has a draft of its own, so it fares on its requests alike in all streams that hold as many."""
        found = {topic: outcomes(topic) for topic in dict.fromkeys(stream)}
        scores = torch.stack([found[topic].scores[index] for topic, index in places(stream)])
        published = [after for topic in found for after in found[topic].published if after < stream.count(topic)]
        return Outcomes(scores, tuple(published))

    def together(self, stream: Stream) -> Outcomes:
        """One draft that learns from all topics."""
        traces = [self.requests[topic][index] for topic, index in places(stream)]
        return self.online(self.pooled(), traces, gated=False)

    def outcomes(self, stream: Stream) -> dict[str, Outcomes]:
        """What every system makes of a stream."""
        requests = self.requests
        found = {
            POOLED: self.routed(stream, lambda topic: self.static(self.pooled(), topic)),
            SPECIALISED: self.routed(stream, lambda topic: self.static(self.specialist(topic), topic)),
            ROUTED: self.routed(stream, lambda topic: self.online(self.pooled(), requests[topic], gated=False)),
            GATED: self.routed(stream, lambda topic: self.online(self.specialist(topic), requests[topic], gated=True)),
            TOGETHER: self.together(stream),
        }
        for percent in PERCENTS if self.cast.late in stream else ():
            found[offline(percent)] = self.routed(stream, partial(self._beforehand, percent))
        return found

    def _beforehand(self, percent: int, topic: str) -> Outcomes:
        """The control on a topic: the late one was distilled on so much, the others are as specialised as can be."""
        return self.static(self.distilled(topic, percent if topic == self.cast.late else 100), topic)

    def rows(self) -> list[Row]:
        """A row for each stream and system."""
        found = []
        for name, stream in self.streams.items():
            self.progress(f"stream: {name}")
            outcomes = self.outcomes(stream)
            found += [self._row(name, stream, system, outcomes) for system in outcomes]
        return found

    def _row(self, name: str, stream: Stream, system: str, outcomes: dict[str, Outcomes]) -> Row:
        late, mine = self.cast.late, outcomes[system].scores
        control = outcomes.get(offline(100))
        new = of_topic(mine, stream, late)
        return {
            "stream": name,
            "system": system,
            "requests": len(stream),
            "new_requests": len(new),
            "published": len(outcomes[system].published),
            "alpha": alpha_of(mine),
            "tokens_per_target_run": tokens_per_run(mine),
            "new_alpha": alpha_of(new) if control else None,
            "new_alpha_last": alpha_of(new[-100:]) if control else None,
            "records_to_recover": control and records_to_recover(new, of_topic(control.scores, stream, late)),
            "deficit_to_pooled": worst_deficit(mine, outcomes[POOLED].scores),
            "deficit_to_specialised": worst_deficit(mine, outcomes[SPECIALISED].scores),
            "curve": curve(mine, self.material.budget.shift.window),
        }

    def _kept(self, how: str, arm: Arm, traces: Sequence[SpeculationTrace], make: Callable[[], Outcomes]) -> Outcomes:
        texts = [(trace.prompt_length, trace.token_ids) for trace in traces]
        name = f"{how} {arm_digest(arm, self.material)} {texts!r}"
        return kept(self.material.work / "shift", name, make)
