"""Requests that the router rejects, dense enough in embedding space to be a topic of their own.

Scattered foreign requests fill no ball as tight as a known topic's core; a new topic does. Candidate balls are chosen
on one half of the rejected requests and counted on the other, so that the count is binomial:

    H0: the share of rejected requests in the ball is at most ``base``
    p  = P(Binomial(n, base) >= count), times the number of candidates (Bonferroni)

``base`` is what known foreign traffic does: `BASE_SHARE`, or, where foreign prompts are at hand, the upper bound of
their own share in that very ball.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.classifier import Floats
from router.clusters import cluster

BASE_SHARE = 0.12  # of 200 foreign prompts (CLINC150) no ball of a topic's core held more, in any of 15 draws
LEAST_SHARE = 0.05  # that a topic must have of the rejected requests, whatever foreign prompts do
LEAST_REQUESTS = 60  # of a new topic: fewer teach a draft little
USUAL_RADIUS = 0.86  # of a known topic's core, where too little traffic was routed to tell
CORE = 0.25  # share of a topic's requests that its core holds
_EDGE = 1.12  # times the radius: no member is further away; three quarters of a topic's requests are nearer
_NUMBERS = (1, 2, 3, 5, 8)  # of clusters that candidates come from
_FEWEST = 5  # requests that a ball's centre is the mean of
_NEIGHBOURS, _ROUNDS = 10, 3
_PER_TOPIC = 20  # routed requests that tell how wide a topic is

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Dense:
    """A dense group of rejected requests.

    Attributes:
        centre: float32 [dim].
        radius: of the ball that was counted.
        share: of the rejected requests that were not looked at to choose it, in the ball.
        base: the share that known foreign traffic might have there.
        p_value: of the count, candidates accounted for.
        members: which of the rejected requests belong to the group, bool [n].
    """

    centre: Floats
    radius: float
    share: float
    base: float
    p_value: float
    members: Flags


def core_radius(routed: Floats, topics: list[str]) -> float:
    """How tight the core of a known topic is: the lower quartile of distances from requests to their topic's mean.

    Args:
        routed: embeddings of requests that were routed to a topic, float32 [n, dim].
        topics: of each.
    """
    names = np.asarray(topics)
    distances = []
    for name in sorted(set(topics)):
        own = routed[names == name]
        if len(own) >= _PER_TOPIC:
            distances.append(_distances(own, own.mean(axis=0)))
    return float(np.quantile(np.concatenate(distances), CORE)) if distances else USUAL_RADIUS


def densest(rejected: Floats, radius: float, foreign: Floats | None = None, seed: int = 0) -> Dense | None:
    """The group of least p-value; None where there are too few requests to choose from.

    Args:
        rejected: embeddings of rejected requests, oldest first, float32 [n, dim].
        foreign: of prompts that are known to be foreign.
    """
    chosen_on, counted_on = rejected[::2], rejected[1::2]
    centres = _candidates(chosen_on, radius, seed)
    found: Dense | None = None
    for centre in centres:
        inside = int((_distances(counted_on, centre) <= radius).sum())
        base = base_share(foreign, centre, radius)
        p_value = min(1.0, len(centres) * binomial_tail(inside, len(counted_on), base))
        share = inside / len(counted_on)
        if found is None or (p_value, -share) < (found.p_value, -found.share):
            found = Dense(centre, radius, share, base, p_value, members_of(rejected, centre, radius))
    return found


def members_of(rejected: Floats, centre: Floats, radius: float) -> Flags:
    """Requests in the ball, and those near it most of whose nearest neighbours are members, bool [n]."""
    distances = _distances(rejected, centre)
    members: Flags = distances <= radius
    if len(rejected) <= _NEIGHBOURS:
        return members
    near = rejected @ rejected.T
    np.fill_diagonal(near, -np.inf)
    neighbours = np.argpartition(-near, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    for _ in range(_ROUNDS):
        members = (members[neighbours].mean(axis=1) >= 0.5) & (distances <= _EDGE * radius)
    return members


def base_share(foreign: Floats | None, centre: Floats, radius: float) -> float:
    """The share of rejected requests that chance may put into a ball."""
    if foreign is None or not len(foreign):
        return BASE_SHARE
    n = len(foreign)
    share = float((_distances(foreign, centre) <= radius).mean())
    # Two standard errors up, a success added so that none is not taken for never.
    return max(LEAST_SHARE, share + 2 * math.sqrt((share + 1 / n) * (1 - share) / n))


def binomial_tail(count: int, size: int, share: float) -> float:
    """P(Binomial(size, share) >= count), exactly."""
    if count <= 0:
        return 1.0
    logs = [
        math.lgamma(size + 1)
        - math.lgamma(each + 1)
        - math.lgamma(size - each + 1)
        + each * math.log(share)
        + (size - each) * math.log1p(-share)
        for each in range(count, size + 1)
    ]
    return min(1.0, sum(map(math.exp, logs)))


def _candidates(embeddings: Floats, radius: float, seed: int) -> list[Floats]:
    """Means of the balls round k-means centres."""
    found = []
    for number in _NUMBERS:
        if len(embeddings) < 2 * _FEWEST * number:
            break
        for centre in cluster(embeddings, number, seed).centres:
            inside = embeddings[_distances(embeddings, centre) <= radius]
            found.append(inside.mean(axis=0) if len(inside) >= _FEWEST else centre)
    return found


def _distances(embeddings: Floats, centre: Floats) -> Floats:
    return np.asarray(np.linalg.norm(embeddings - centre, axis=1), dtype=np.float32)
