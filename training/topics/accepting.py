"""What topics are made of: a proposal, a topic in two halves, two topics together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError, CorpusError
from drafts.pool import AND, GENERAL, LOOKUP
from router.clusters import cluster
from router.density import LEAST_REQUESTS
from router.prompts import FOREIGN
from router.proposal import Proposal
from training.distillation.parent import Parent
from training.topics.changing import Changed, Prompts, Workshop, change
from training.topics.proposals import Scout
from training.topics.sources import texts_of
from training.topics.traffic import Traffic

_RESERVED = (GENERAL, LOOKUP, "none", "auto", "router", FOREIGN)
_SEED = 1  # of a split


@dataclass(frozen=True)
class Known:
    """Prompts that a router was or could be trained on: of its topics, and foreign ones."""

    topics: Prompts
    foreign: Sequence[str]

    def without(self, *names: str) -> dict[str, Sequence[str]]:
        """The prompts of all other topics."""
        return {topic: texts for topic, texts in self.topics.items() if topic not in names}


def known_from_data(folder: Path, topics: Sequence[str]) -> Known:
    """From a folder of JSON lines: training prompts of ``topics`` and of ``out_of_scope``.

    Raises:
        ConfigError: a file is missing.
    """
    prompts = {topic: list(texts_of(folder / f"{topic}.jsonl", "train")) for topic in topics}
    return Known(prompts, foreign_prompts(folder))


def foreign_prompts(folder: Path) -> list[str]:
    """Training prompts of no topic.

    Raises:
        ConfigError: the folder has no ``out_of_scope.jsonl``.
    """
    return list(texts_of(folder / f"{FOREIGN}.jsonl", "train"))


def known_from_traces(log: Traffic, topics: Sequence[str], foreign: Sequence[str]) -> Known:
    """From recorded requests, as they were routed."""
    prompts: dict[str, list[str]] = {topic: [] for topic in topics}
    for trace, query in zip(log.traces, log.queries, strict=True):
        if trace.topic in prompts:
            prompts[trace.topic].append(query)
    return Known(prompts, foreign)


def accept(
    workshop: Workshop, scout: Scout, proposal: Proposal, name: str, general: Parent, known: Known | None, log: Traffic
) -> Changed:
    """Make the proposal the topic ``name``: a draft from the general one, and a router that knows it.

    Args:
        known: prompts of all other topics; None takes the log's.

    Raises:
        ConfigError: the name is taken, or no draft can have it.
        CorpusError: too little is left of the proposal's traffic.
    """
    check_name(name, scout.router.topics)
    rejected = scout.rejected()
    flags = rejected.flags(proposal)
    members = rejected.traffic.at(flags.nonzero()[0].tolist())
    if len(members) < LEAST_REQUESTS // 2:
        raise CorpusError(f"{len(members)} recorded requests are left of {proposal.name}", do="serve more of them")
    others = [query for query, inside in zip(rejected.traffic.queries, flags, strict=True) if not inside]
    known = known or known_from_traces(log, scout.router.topics, others)
    prompts = {**known.topics, name: list(members.queries)}
    changed = change(workshop, {name: (members, general)}, prompts, known.foreign, f"new topic {name}")
    if changed.promoted:
        scout.file.write(scout.file.read().settled(proposal.name, "accepted"))
    return changed


def split(
    workshop: Workshop, topic: str, names: tuple[str, str], traffic: Traffic, parent: Parent, known: Known
) -> Changed:
    """Two topics in place of ``topic``: the two clusters of its queries, each with a draft from its draft.

    Args:
        traffic: of the topic.
        known: prompts of all topics, those of ``topic`` included.
    """
    for name in names:
        check_name(name, [each for each in known.topics if each != topic])
    own = list(known.topics[topic])
    partition = cluster(workshop.encoder.encode([*traffic.queries, *own]), 2, _SEED)
    asked, told = (partition.nearest(workshop.encoder.encode(texts)).tolist() for texts in (traffic.queries, own))
    lessons: dict[str, tuple[Traffic, Parent]] = {}
    prompts: dict[str, Sequence[str]] = known.without(topic)
    for side, name in enumerate(names):
        lessons[name] = traffic.at(place for place, each in enumerate(asked) if each == side), parent
        prompts[name] = [text for text, each in zip(own, told, strict=True) if each == side]
    return change(workshop, lessons, prompts, known.foreign, f"{topic} split into {names[0]} and {names[1]}")


def merge(
    workshop: Workshop,
    topics: tuple[str, str],
    name: str,
    traffic: Mapping[str, Traffic],
    parents: Mapping[str, Parent],
    known: Known,
) -> Changed:
    """One topic in place of two, its draft going on from the draft of the one with more traffic."""
    check_name(name, [each for each in known.topics if each not in topics])
    first = max(topics, key=lambda topic: len(traffic[topic]))
    both = Traffic(
        tuple(trace for topic in topics for trace in traffic[topic].traces),
        tuple(query for topic in topics for query in traffic[topic].queries),
    )
    prompts = {**known.without(*topics), name: [text for topic in topics for text in known.topics[topic]]}
    lessons = {name: (both, parents[first])}
    return change(workshop, lessons, prompts, known.foreign, f"{topics[0]} and {topics[1]} merged into {name}")


def check_name(name: str, taken: Sequence[str]) -> None:
    """Return if a topic may be called so.

    Raises:
        ConfigError: it may not.
    """
    whole = name.replace("-", "").replace("_", "")
    if not (whole.isascii() and whole.isalnum() and AND not in name) or name in _RESERVED:
        raise ConfigError(f"no topic can be called {name}", do="use letters, digits and dashes")
    if name in taken:
        raise ConfigError(f"there is a topic {name} already", do="choose another name")
