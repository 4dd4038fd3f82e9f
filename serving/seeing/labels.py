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


def labels_of(routing: Routing | None, serving: dict[str, str]) -> Labels:
    """Who proposes for a request now.

    Args:
        serving: the label of every draft that serves, by name. What a request was routed to may have left since.
    """
    if routing is None:
        return NO_TOPIC, NO_DRAFT, ""
    name, version = split_label(routing.draft)
    if name in serving and routing.draft not in serving.values():
        name, version = split_label(serving[name])
    return routing.topic or NO_TOPIC, name, version
