"""Looking for new topics: recorded requests that the router rejects, and whether they are dense (`router.density`)."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from decoding.trace import SpeculationTrace
from decoding.trace_reader import TraceReader
from router.density import LEAST_REQUESTS, Dense, core_radius, densest, members_of
from router.embedding_cache import CachedEncoder
from router.encoder import Embeddings, Encoder
from router.proposal import Proposal, ProposalFile, Proposals
from router.topic_router import TopicRouter
from training.labels.questions import PromptText
from training.topics.traffic import Traffic, traffic_of

LEVEL = 0.01  # of raising a proposal where there is no topic, over all looks together
LOOK_EVERY = 20  # further rejected requests
_MOST = 2000  # rejected requests, the newest
_MOST_ROUTED = 1000
_MOST_AT_ONCE = 3  # proposals of one look
_WORDS, _FEWEST = 8, 5
_COMMON = frozenset(
    re.findall(
        "[a-z]+",
        "and any are can could did does for from had has have how into its may not our should that the their there "
        "they this was were what when where which who why will with would you your about give make tell please",
    )
)


@dataclass(frozen=True)
class Rejected:
    """Requests that the router rejects, each text once, and what is near them.

    Attributes:
        traffic: oldest first.
        embeddings: float32 [n, dim].
        radius: of a known topic's core.
        others: queries of routed requests.
    """

    traffic: Traffic
    embeddings: Embeddings
    radius: float
    others: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.traffic)

    def near(self, proposal: Proposal) -> Traffic:
        """The members of a proposal's group among them."""
        return self.traffic.at(np.flatnonzero(self.flags(proposal)).tolist())

    def flags(self, proposal: Proposal) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
        """Which of them are members, bool [n]."""
        return members_of(self.embeddings, np.asarray(proposal.centre, dtype=np.float32), proposal.radius)


@dataclass(frozen=True)
class Scout:
    """Looks at the traces of one target.

    Attributes:
        folder: of the traces.
        router: the one that serves; it says anew what it rejects, so that a topic it has learned raises nothing.
        foreign: embeddings of prompts that are known to be foreign; None where there are none at hand.
    """

    folder: Path
    target: str
    text_of: PromptText
    router: TopicRouter
    encoder: CachedEncoder
    file: ProposalFile
    foreign: Embeddings | None = None
    say: Callable[[str], None] = lambda _: None

    def rejected(self) -> Rejected:
        """What the router rejects now."""
        return rejected_of(
            self._newest({None}, _MOST), self._newest(set(self.router.topics), _MOST_ROUTED), self.router, self.encoder
        )

    def look(self) -> list[Proposal]:
        """Raise what is dense and not known yet, and remember it; those that are raised now."""
        found, before = self.rejected(), self.file.read()
        raised, looks = propose(found, before, self.foreign, self.encoder.fingerprint, self.router.topics)
        self.file.write(Proposals((*before.known, *raised), looks, num_unrouted(self.folder, self.target)))
        for each in raised:
            self.say(each.sentence)
        return raised

    def _newest(self, topics: Collection[str | None], most: int) -> Traffic:
        number = sum(1 for _ in TraceReader(self.folder, topics, self.target).entries())
        traces = TraceReader(self.folder, topics, self.target)
        return traffic_of((each for place, each in enumerate(traces) if place >= number - most), self.text_of)


def num_unrouted(folder: Path, target: str) -> int:
    """Recorded requests of no topic; nothing but headers is read."""
    return sum(1 for _ in TraceReader(folder, {None}, target).entries())


def is_due(folder: Path, target: str, file: ProposalFile) -> bool:
    """Whether enough requests without a topic have come since the last look."""
    now = num_unrouted(folder, target)
    return now >= LEAST_REQUESTS and now - file.read().rejected >= LOOK_EVERY


def rejected_of(unrouted: Traffic, routed: Traffic, router: TopicRouter, encoder: Encoder) -> Rejected:
    """Of requests without a topic, those that the router rejects."""
    once = _each_once(unrouted)
    embeddings = encoder.encode(once.queries)
    decisions = router.decide_embedded(embeddings) if len(once) else []
    places = [place for place, each in enumerate(decisions) if each.reason == "out_of_scope"]
    radius = core_radius(encoder.encode(routed.queries), list(routed.topics))
    return Rejected(once.at(places), embeddings[places], radius, routed.queries)


def propose(
    found: Rejected, before: Proposals, foreign: Embeddings | None, embedding: str, topics: Sequence[str]
) -> tuple[list[Proposal], int]:
    """Proposals that the rejected requests raise beside those known, and how many looks there have been.

    The i-th look tests at level `LEVEL` / (i (i + 1)), which add up to `LEVEL`: one may look for ever.
    """
    if len(found) < LEAST_REQUESTS:
        return [], before.looks
    looks = before.looks + 1
    level = LEVEL / (looks * (looks + 1))
    left = np.ones(len(found), dtype=np.bool_)
    for each in before.known:
        if each.embedding == embedding and each.state != "accepted":
            left &= ~found.flags(each)
    raised: list[Proposal] = []
    while len(raised) < _MOST_AT_ONCE and left.sum() >= LEAST_REQUESTS:
        places = np.flatnonzero(left)
        dense = densest(found.embeddings[places], found.radius, foreign)
        if dense is None or dense.p_value > level or dense.members.sum() < LEAST_REQUESTS:
            break
        members = places[dense.members]
        names = {*topics, *(each.name for each in (*before.known, *raised))}
        raised.append(_proposal(found, members.tolist(), dense, embedding, names))
        left[members] = False
    return raised, looks


def _proposal(found: Rejected, members: Sequence[int], dense: Dense, embedding: str, taken: set[str]) -> Proposal:
    inside = set(members)
    own = [found.traffic.queries[place] for place in members]
    rest = [query for place, query in enumerate(found.traffic.queries) if place not in inside]
    words = characteristic_words(own, [*rest, *found.others])
    name = next((word for word in words if word not in taken), None)
    return Proposal(
        name=name or next(f"topic-{number}" for number in range(1, 1000) if f"topic-{number}" not in taken),
        centre=tuple(float(value) for value in dense.centre),
        radius=dense.radius,
        embedding=embedding,
        requests=len(members),
        rejected=len(found),
        share=dense.share,
        base=dense.base,
        p_value=dense.p_value,
        words=words,
        raised=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def characteristic_words(own: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """Words of at least five queries that are in a larger share of them than of the others, the most telling first."""
    mine, theirs = _counted(own), _counted(others)
    gains = {
        word: count / len(own) - theirs[word] / max(1, len(others)) for word, count in mine.items() if count >= _FEWEST
    }
    return tuple(word for word in sorted(gains, key=lambda word: (-gains[word], word)) if gains[word] > 0)[:_WORDS]


def _counted(texts: Sequence[str]) -> Counter[str]:
    """In how many texts each word is."""
    words = (set(re.findall(r"[a-z]{3,24}", text.lower())) - _COMMON for text in texts)
    return Counter(word for each in words for word in each)


def _each_once(traffic: Traffic) -> Traffic:
    """The same text again and again is no topic."""
    last: dict[str, int] = {" ".join(query.casefold().split()): place for place, query in enumerate(traffic.queries)}
    return traffic.at(sorted(last.values()))


def relabelled(traffic: Traffic, topic: str) -> list[SpeculationTrace]:
    """The same answers under another topic."""
    return [replace(trace, topic=topic) for trace in traffic.traces]
