"""Regret as `polydraft learn` keeps it beside its labels: read anew when the file has changed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "shadow.json"


@dataclass(frozen=True, slots=True)
class TopicRegret:
    """Of the scored traces of one topic."""

    tokens: float
    lost_runs: float  # target runs that the best draft of each answer would have saved


class RegretFile:
    """The newest figures, by topic; nothing where nobody scores, or from a file that cannot be read."""

    def __init__(self, path: Path):
        self._path = path
        self._seen: int | None = None
        self._topics: dict[str, TopicRegret] = {}

    @property
    def topics(self) -> dict[str, TopicRegret]:
        """As of now."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._seen:
                self._topics = _parse(json.loads(self._path.read_text(encoding="utf-8")))
                self._seen = changed
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return self._topics  # it is replaced whole; the next look may find it
        return self._topics


def _parse(document: dict[str, Any]) -> dict[str, TopicRegret]:
    return {
        topic: TopicRegret(float(sums["tokens"]), float(sums["chosen_runs"]) - float(sums["best_runs"]))
        for topic, sums in document["topics"].items()
    }
