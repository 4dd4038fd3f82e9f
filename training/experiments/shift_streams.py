"""Streams of requests whose topic changes, after the shift workloads of Online Speculative Decoding (its section 5)."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

Stream = tuple[str, ...]  # the topic of every request; the n-th request of a topic is that topic's n-th prompt


@dataclass(frozen=True)
class Cast:
    """Topics of the streams: two that the pooled draft has learned and that have drafts, and one that comes late."""

    first: str
    second: str
    late: str


def streams(cast: Cast, length: int, seed: int = 1) -> dict[str, Stream]:
    """All streams by name, of ``length`` requests each; drawn ones are the same for the same seed."""
    a, b, c = cast.first, cast.second, cast.late
    even = {a: 1 / 3, b: 1 / 3, c: 1 / 3}
    return {
        "stationary": blocks([(a, length)]),
        "sharp": blocks([(a, 3 * length // 8), (c, length - 3 * length // 8)]),
        "smooth, two": drawn(lambda place: {a: 1 - place, c: place}, length, seed),
        "smooth, three": drawn(lambda place: {a: 0.8 - 0.7 * place, b: 0.1, c: 0.1 + 0.7 * place}, length, seed),
        "mixed": drawn(lambda _: even, length, seed),
        "oscillating": tuple(islice(cycle(blocks([(a, length // 8), (c, length // 8)])), length)),
        "return": blocks([(a, 3 * length // 8), (c, 3 * length // 8), (a, length - 2 * (3 * length // 8))]),
    }


def blocks(parts: Sequence[tuple[str, int]]) -> Stream:
    """Topics one after the other, each for so many requests."""
    return tuple(topic for topic, count in parts for _ in range(count))


def drawn(chances: Callable[[float], Mapping[str, float]], length: int, seed: int) -> Stream:
    """Every topic drawn for itself.

    Args:
        chances: of the topics, from the place in the stream, 0 to 1.
    """
    draw = random.Random(seed)
    found = []
    for number in range(length):
        now = chances(number / max(1, length - 1))
        found.append(draw.choices(list(now), list(now.values()))[0])
    return tuple(found)


def places(stream: Stream) -> list[tuple[str, int]]:
    """Topic of every request, and how many of that topic came before it."""
    before: Counter[str] = Counter()
    found = []
    for topic in stream:
        found.append((topic, before[topic]))
        before[topic] += 1
    return found


def needed(every: Mapping[str, Stream]) -> dict[str, int]:
    """Most requests of each topic in one stream."""
    topics = dict.fromkeys(topic for stream in every.values() for topic in stream)
    return {topic: max(stream.count(topic) for stream in every.values()) for topic in topics}
