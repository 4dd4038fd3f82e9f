"""From what the worker says of requests and drafts to label values, of which there are few."""

from drafts.pool import AND
from serving.wire import Routing

NO_TOPIC, NO_DRAFT, MERGED = "none", "none", "merged"

Labels = tuple[str, str, str]  # topic, draft, version


def split_label(label: str) -> tuple[str, str]:
    """Name and version of "sql@v3"; clients may merge drafts as they like, so all of that is one name."""
    if AND in label:
        return MERGED, ""
    name, _, version = label.partition("@")
    return name, version


def refused_version(line: str) -> tuple[str, str, str] | None:
    """Name, version and reason out of a complaint that begins with a label; None if it is not about a version."""
    label, _, why = line.partition("\n")[0].removeprefix("draft ").partition(" ")
    name, separator, version = label.partition("@")
    return (name, version, why) if separator else None


def labels_of(routing: Routing) -> Labels:
    """Who proposes for a request from now on."""
    return routing.topic or NO_TOPIC, *split_label(routing.draft)
