"""What is in a trace log, by topic, read from the headers of its segments."""

from collections import Counter
from dataclasses import dataclass, field

from decoding.trace_reader import TraceReader
from decoding.trace_segment import Entry


@dataclass(slots=True)
class TopicSummary:
    """Counts over the traces of one topic; ``drafts`` and ``targets`` by traces. Times in seconds since 1970."""

    topic: str | None
    num_traces: int = 0
    num_tokens: int = 0
    num_runs: int = 0
    num_accepted: int = 0
    drafts: Counter[str | None] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    first: float = float("inf")
    last: float = float("-inf")

    def add(self, entry: Entry) -> None:
        """Count one trace."""
        self.num_traces += 1
        self.num_tokens += entry.num_tokens
        self.num_runs += entry.num_runs
        self.num_accepted += entry.num_accepted
        self.drafts[entry.draft] += 1
        self.targets[entry.target] += 1
        self.first, self.last = min(self.first, entry.time), max(self.last, entry.time)

    @property
    def tokens_per_target_run(self) -> float:
        """Over all runs, speculative or not."""
        return self.num_tokens / self.num_runs

    @property
    def accepted_share(self) -> float:
        """Share of the tokens that a drafter wrote."""
        return self.num_accepted / self.num_tokens


def summarise(reader: TraceReader) -> list[TopicSummary]:
    """One summary a topic, by name; traces without a topic come last."""
    found: dict[str | None, TopicSummary] = {}
    for entry in reader.entries():
        found.setdefault(entry.topic, TopicSummary(entry.topic)).add(entry)
    return sorted(found.values(), key=lambda summary: (summary.topic is None, summary.topic or ""))
