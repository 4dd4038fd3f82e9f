"""Has the traffic drifted? Queries against earlier queries, acceptance against the registry's figure, topic by topic.

Two tests a topic, `LEVEL` for all of them together (Bonferroni):

*Queries*: the energy test of the newest requests' embeddings against earlier ones, by permutation.
*Acceptance*: a bet against "the draft that serves is accepted as often as its version says, less `TOLERATED`", on exact
replays of the newest answers; the wealth is an e-value, and 1 / level of it an alarm at any time (Ville's inequality).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from decoding.load import load_draft
from decoding.trace import SpeculationTrace
from registry.version import Version
from router.encoder import Encoder
from router.two_sample import energy_test
from training.gate.sequences import betting_wealth
from training.online.trial import SLOTS, longest
from training.replay import Acceptance, acceptances
from training.topics.traffic import Traffic

LEVEL = 0.01  # of any false alarm in one report
TOLERATED = 0.03  # of alpha: text that a version was measured on is never quite the traffic
NEWEST, EARLIER = 200, 400  # requests of a topic that are compared
LEAST = 40  # of each
ALL = "all"
_BOUND = 1.0  # of one request's shortfall, in the mean number of tokens that may be accepted

Row = dict[str, Any]
Told = Callable[[str], None]


@dataclass(frozen=True)
class Drift:
    """A look at the traffic.

    Attributes:
        traffic: oldest first.
        drafts: the version that serves each topic, ``general`` for requests of no topic.
    """

    traffic: Traffic
    encoder: Encoder
    drafts: dict[str, Version]
    general: str
    told: Told = lambda _: None

    def rows(self) -> list[Row]:
        """A row for each topic, and one for the queries of all together: its mix of topics may change, too."""
        names = [*dict.fromkeys(topic or self.general for topic in self.traffic.topics)]
        level = LEVEL / (2 * len(names) + 1)
        rows = []
        for name in names:
            self.told(f"{name}: queries and acceptance")
            own = self.traffic.where(lambda trace, name=name: (trace.topic or self.general) == name)  # type: ignore[misc]
            rows.append({"topic": name, **self._queries(own, level), **self._acceptance(own, name, level)})
        whole = {"topic": ALL, **self._queries(self.traffic, level), **_nothing("acceptance")}
        return [*rows, whole]

    def _queries(self, own: Traffic, level: float) -> Row:
        newest = own.at(range(max(0, len(own) - NEWEST), len(own)))
        earlier = own.at(range(max(0, len(own) - NEWEST - EARLIER), max(0, len(own) - NEWEST)))
        row = {"requests": len(own), "newest": len(newest), "earlier": len(earlier)}
        if min(len(newest), len(earlier)) < LEAST:
            return {**row, **_nothing("queries")}
        # Repeated queries stay: they are part of the law, and left out of one side alone they would make a difference.
        first, second = (self.encoder.encode(part.queries) for part in (earlier, newest))
        distance, p_value = energy_test(first, second)
        return {
            **row,
            "energy_distance": distance,
            "p_value": p_value,
            "queries_level": level,
            "queries_drift": p_value <= level,
        }

    def _acceptance(self, own: Traffic, name: str, level: float) -> Row:
        version = self.drafts.get(name)
        newest = own.traces[-NEWEST:]
        if version is None or version.figure("alpha") is None or len(newest) < LEAST:
            return {"draft": None if version is None else version.label, **_nothing("acceptance")}
        replayed = acceptances(load_draft(version.folder, SLOTS, longest(newest)), newest)
        said = [expected_alpha(version, trace) for trace in newest]
        wealth = shortfall_wealth(replayed, said)
        accepted, reachable = (sum(float(each) for each in part) for part in _counts(replayed))
        promised = sum(alpha * len(each.reachable) for alpha, each in zip(said, replayed, strict=True))
        return {
            "draft": version.label,
            "alpha": accepted / max(1.0, reachable),
            "alpha_registered": promised / max(1.0, reachable),
            "wealth": wealth,
            "alarm_at": 1 / level,
            "acceptance_drift": wealth >= 1 / level,
        }


def drifted(rows: Sequence[Row]) -> list[str]:
    """What drifted, for people."""
    return [f"{row['topic']}: {what}" for row in rows for what in ("queries", "acceptance") if row[f"{what}_drift"]]


def verdicts(rows: Sequence[Row]) -> dict[str, dict[str, bool]]:
    """By topic, whether queries and acceptance drifted; what there was too little of to judge is left out."""
    return {
        str(row["topic"]): {
            what: bool(row[f"{what}_drift"]) for what in ("queries", "acceptance") if row[f"{what}_drift"] is not None
        }
        for row in rows
    }


def expected_alpha(version: Version, trace: SpeculationTrace) -> float:
    """The acceptance that a version was registered with, at the answer's temperature: linear between 0 and 1."""
    greedy = version.figure("alpha")
    assert greedy is not None
    drawn = version.figure("alpha_t1")
    share = min(1.0, max(0.0, trace.sampling.temperature))
    return greedy if drawn is None else (1 - share) * greedy + share * drawn


def shortfall_wealth(replayed: Sequence[Acceptance], said: Sequence[float]) -> float:
    """The most that a bettor ever had who bets that acceptance is below ``said`` less `TOLERATED`, beginning with 1.

    A request's shortfall is (said - tolerated) x tokens that may be accepted - expected accepted ones, over the mean
    number of the former, so that its mean is 0 exactly where the ratio of sums is what was said.
    """
    accepted, reachable = (torch.tensor(part, dtype=torch.float64) for part in _counts(replayed))
    if not reachable.sum():
        return 1.0
    promised = (torch.tensor(said, dtype=torch.float64) - TOLERATED) * reachable
    wealth = betting_wealth((promised - accepted) / reachable.mean(), _BOUND)
    return float(wealth.max())


def _counts(replayed: Sequence[Acceptance]) -> tuple[list[float], list[float]]:
    """Expected accepted tokens of each answer, and how many might be."""
    return [float(each.reachable.sum()) for each in replayed], [float(len(each.reachable)) for each in replayed]


def _nothing(what: str) -> Row:
    """Too little to say anything."""
    keys = {
        "queries": ("energy_distance", "p_value", "queries_level", "queries_drift"),
        "acceptance": ("alpha", "alpha_registered", "wealth", "alarm_at", "acceptance_drift"),
    }
    return dict.fromkeys(keys[what])
