"""What the router's choices have cost beside each prompt's best draft, summed by topic; ratios are taken last."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from drafts.pool import AND

NO_TOPIC = "none"


@dataclass(slots=True)
class Sums:
    """Of the answers of one topic; runs are expected target runs at one proposal length."""

    answers: int = 0
    tokens: int = 0
    chosen_runs: float = 0.0
    best_runs: float = 0.0

    def add(self, tokens: int, chosen: float, best: float) -> None:
        self.answers += 1
        self.tokens += tokens
        self.chosen_runs += chosen
        self.best_runs += best


class Regret:
    """Regret by topic. An answer counts if one draft of the deployment proposed for it."""

    def __init__(self, topics: dict[str, Sums] | None = None, others: int = 0):
        self.topics, self.others = topics or {}, others

    def add(self, topic: str | None, draft: str | None, tokens: int, runs: Mapping[str, float]) -> None:
        """Count an answer.

        Args:
            draft: who proposed, with or without its version; the name decides, since regret is the router's.
            runs: that each draft would take, by name.
        """
        name = (draft or "").split("@")[0]
        if name not in runs or AND in (draft or ""):  # merged drafts have no runs of their own
            self.others += 1
            return
        sums = self.topics.setdefault(topic or NO_TOPIC, Sums())
        sums.add(tokens, float(runs[name]), float(min(runs.values())))

    @property
    def runs_per_1000_tokens(self) -> float | None:
        """Target runs a thousand tokens that the best drafts, known in hindsight, would have saved."""
        tokens = sum(sums.tokens for sums in self.topics.values())
        lost = sum(sums.chosen_runs - sums.best_runs for sums in self.topics.values())
        return 1000 * lost / tokens if tokens else None

    def document(self) -> dict[str, Any]:
        """All sums, and the ratio for people."""
        return {
            "regret_runs_per_1000_tokens": self.runs_per_1000_tokens,
            "topics": {topic: asdict(sums) for topic, sums in sorted(self.topics.items())},
            "others": self.others,
        }

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Regret":
        """The inverse of `document`."""
        return cls({topic: Sums(**sums) for topic, sums in document["topics"].items()}, int(document["others"]))
