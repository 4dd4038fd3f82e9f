"""How many drafts there should be: partitions of the traffic into 1, 2, 3, ... clusters, each with drafts of its own.

Every partition is trained from the same parent on the same total of steps; held-out prompts are routed to the nearest
cluster, whose draft replays the answer exactly. K = 1 is one draft that all the compute goes to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from configs.errors import ConfigError, CorpusError
from router.clusters import adjusted_rand, cluster, purity, stability
from router.encoder import Embeddings, Encoder
from training.topics.partitions import Nursery, Scores, shares
from training.topics.traffic import Traffic
from training.topics.worth import Worth

STABILITY_SEEDS = (1, 2, 3, 4, 5)
LEAST_TRAIN, LEAST_HELD_OUT = 48, 16

Row = dict[str, Any]
Told = Callable[[str], None]


@dataclass(frozen=True)
class Partitioned:
    """What one number of drafts came to with one seed: runs of each held-out answer by draft, and who it went to."""

    scores: tuple[Scores, ...]
    routed: Tensor  # int64 [n]
    labels: Sequence[int]  # of the training queries

    def chosen(self, name: str) -> Tensor:
        """A figure of every held-out answer under the draft that it was routed to, float64 [n]."""
        return self._all(name).gather(0, self.routed[None])[0]

    def best(self) -> Tensor:
        """Runs of every held-out answer under the draft that suits it best, float64 [n]."""
        return self._all("runs").min(dim=0).values

    def _all(self, name: str) -> Tensor:
        return torch.stack([getattr(each, name) for each in self.scores])


@dataclass(frozen=True)
class Discovery:
    """A search for the number of drafts.

    Attributes:
        train, held_out: traffic; topic names, where known, are compared with clusters and used for nothing else.
        draft_bytes: memory of one draft.
        seeds: of clustering and training.
    """

    train: Traffic
    held_out: Traffic
    encoder: Encoder
    nursery: Nursery
    draft_bytes: int
    numbers: Sequence[int]
    seeds: Sequence[int] = (1,)
    told: Told = field(default=lambda _: None)

    def rows(self) -> tuple[list[Row], Row]:
        """A row for each number of drafts, and what is recommended.

        Raises:
            CorpusError: too little traffic for so many drafts.
        """
        self._check()
        self.told(f"embedding {len(self.train) + len(self.held_out)} queries")
        learned, asked = (self.encoder.encode(part.queries) for part in (self.train, self.held_out))
        made = {k: [self._partition(k, seed, learned, asked) for seed in self.seeds] for k in self.numbers}
        worth = Worth({k: torch.stack([each.chosen("runs") for each in parts]) for k, parts in made.items()})
        rows = [self._row(k, parts, worth, learned) for k, parts in made.items()]
        found = worth.recommend()
        gain = worth.gain(found.k, self.numbers[0])
        return rows, {
            "recommended": found.k,
            "recommended_low": found.low,
            "recommended_high": found.high,
            "gain": gain.value,
            "gain_low": gain.low,
            "gain_high": gain.high,
        }

    def _check(self) -> None:
        most = max(self.numbers)
        if self.numbers[0] != 1:
            raise ConfigError("one draft for everything is what others are compared with", do="--k 1..12")
        if len(self.train) < max(LEAST_TRAIN, 4 * most) or len(self.held_out) < LEAST_HELD_OUT:
            what = f"{len(self.train)} answers to learn from and {len(self.held_out)} held out are too few for {most}"
            raise CorpusError(f"{what} drafts", do="serve more requests first, pass --data, or ask for a smaller --k")

    def _partition(self, k: int, seed: int, learned: Embeddings, asked: Embeddings) -> Partitioned:
        partition = cluster(learned, k, seed)
        labels = partition.nearest(learned)
        lessons = [self.train.at((labels == each).nonzero()[0].tolist()) for each in range(k)]
        sizes = [sum(len(trace.token_ids) for trace in lesson.traces) for lesson in lessons]
        found = []
        for number, (lesson, steps) in enumerate(
            zip(lessons, shares(sizes, self.nursery.spending.steps), strict=True), start=1
        ):
            self.told(f"K = {k}: draft {number} of {k}, {len(lesson)} answers, {steps} steps, seed {seed}")
            found.append(self.nursery.scores(lesson.traces, steps, seed))
        return Partitioned(tuple(found), torch.from_numpy(partition.nearest(asked)), labels.tolist())

    def _row(self, k: int, parts: Sequence[Partitioned], worth: Worth, learned: Embeddings) -> Row:
        tokens = float(sum(len(trace.answer_ids) for trace in self.held_out.traces))
        before = self.numbers[max(0, self.numbers.index(k) - 1)]
        over_one, further = worth.gain(k, self.numbers[0]), worth.gain(k, before)
        runs = sum(float(each.chosen("runs").sum()) for each in parts) / len(parts)
        best = sum(float(each.best().sum()) for each in parts) / len(parts)
        wrong = sum(float((each.chosen("runs") > each.best() + 1e-9).double().mean()) for each in parts) / len(parts)
        accepted = sum(float(each.chosen("accepted").sum()) for each in parts)
        reachable = sum(float(each.chosen("reachable").sum()) for each in parts)
        return {
            "k": k,
            "held_out": len(self.held_out),
            "tokens": int(tokens),
            "alpha": accepted / reachable,
            "tokens_per_target_run": tokens / runs,
            "gain": over_one.value,
            "gain_low": over_one.low,
            "gain_high": over_one.high,
            "before": before,
            "further": further.value,
            "further_low": further.low,
            "further_high": further.high,
            "routing_error": wrong,
            "regret_runs_per_1000_tokens": 1000 * (runs - best) / tokens,
            "drafts_mb": k * self.draft_bytes / (1 << 20),
            "steps": self.nursery.spending.steps,
            "smallest_cluster": min(min(each.labels.count(place) for place in range(k)) for each in parts),
            "stability": stability(learned, k, STABILITY_SEEDS),
            **self._agreement(parts[0].labels),
        }

    def _agreement(self, labels: Sequence[int]) -> Row:
        names = self.train.topics
        if not all(names):
            return {"names": None, "agreement": None, "purity": None}
        return {"names": len(set(names)), "agreement": adjusted_rand(labels, names), "purity": purity(labels, names)}
