"""A `Watch` with a clock in hand, and messages as the worker sends them."""

from decoding.request import Origin, SamplingParams, SpeculationCounts
from serving.seeing.watch import Watch
from serving.wire import Job, Load, Output, Routing, Status, StepMessage

D, L, C, B, P = Origin.DRAFT, Origin.LOOKUP, Origin.CORRECTED, Origin.BONUS, Origin.PLAIN
ROUTED = Routing("sql", "sql@v1", 0.97, "topic")
UNDECIDED = Routing(None, "lookup", None, "undecided")


class Stage:
    """What a worker would do."""

    def __init__(self, slots: int = 4):
        self.now = 1000.0
        self.watch = Watch(slots, clock=lambda: self.now, wall=lambda: 1_700_000_000 + self.now)
        self._counts: dict[str, SpeculationCounts] = {}

    def open(self, name: str, prompt: int = 3) -> None:
        self._counts[name] = SpeculationCounts()
        self.watch.opened(Job(name, [1] * prompt, "", SamplingParams()))

    def route(self, name: str, routing: Routing = ROUTED) -> None:
        self.say(routings={name: routing})

    def run(self, name: str, drafted: int, origins: list[Origin], finish: str | None = None) -> None:
        """One target run; accepted is what draft or lookup wrote."""
        counts = self._counts[name]
        accepted = sum(origin in (D, L) for origin in origins)
        if L in origins:
            counts.num_copied_tokens += drafted
        counts.add_run(drafted, accepted, len(origins))
        self.say(Output(name, [7] * len(origins), origins, finish, counts))

    def say(
        self,
        *outputs: Output,
        load: Load | None = None,
        routings: dict[str, Routing] | None = None,
        drafts: dict[str, str] | None = None,
        given_up: tuple[str, ...] = (),
        refused: tuple[str, ...] = (),
        pid: int = 12,
    ) -> None:
        status = Status(pid, load or Load(), "ready", drafts_refused=refused)
        message = StepMessage(status, list(outputs), routings or {}, drafts=drafts or {}, given_up=given_up)
        self.watch.told(StepMessage.from_json(message.to_json()))

    def counted(self, stem: str) -> dict[tuple[str, ...], float]:
        """Series that are not 0."""
        return {labels: value for labels, value in self.watch.tally.counters[stem].values.items() if value}

    def times(self, stem: str) -> tuple[int, float]:
        """How many were observed, and their sum."""
        histogram = self.watch.tally.histograms[stem]
        return sum(histogram.counts), histogram.sum
