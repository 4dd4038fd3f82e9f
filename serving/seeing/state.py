"""What is so now, rather than counted: load, versions that serve, parts that do not work, and what others keep."""

from collections.abc import Callable, Mapping

from registry.names import Reference
from serving.config import Deployment
from serving.deployment import REGISTRY_SCHEME
from serving.plan import draft_sources
from serving.seeing.labels import split_label
from serving.seeing.metrics import Values
from serving.seeing.regret_file import RegretFile
from serving.seeing.watch import Watch
from serving.wire import AuditState, Status


def aliases_of(deployment: Deployment) -> dict[str, str]:
    """The registry alias that each draft follows; "" where a folder or a fixed version serves."""
    aliases = {}
    for name, source in draft_sources(deployment).items():
        followed = source.model.startswith(REGISTRY_SCHEME)
        aliases[name] = (Reference.parse(source.model).alias or "") if followed else ""
    return aliases


def degraded(status: Status | None, worker_died: bool, not_followed: bool = False) -> list[str]:
    """Slugs of what does not work as it should; empty if all is well.

    Args:
        not_followed: a registry, or a version there, cannot be used.
    """
    found = ["worker"] if worker_died else []
    if status is None:
        return [*found, "starting"]
    if status.router not in ("off", "ready"):
        found.append("router_starting" if status.router == "starting" else "router")
    if not_followed or status.drafts_refused or status.router_refused:
        found.append("registry")
    if status.traces is not None and status.traces.error:
        found.append("traces")
    if status.audit is not None and status.audit.mismatches:
        found.append("audit")
    return found


class State:
    """Values for `/metrics` beside the tally.

    Args:
        published: MLflow traces written and dropped.
    """

    def __init__(
        self,
        watch: Watch,
        aliases: Mapping[str, str],
        regret: RegretFile,
        worker_died: Callable[[], bool],
        not_followed: Callable[[], bool] = lambda: False,
        published: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ):
        self._watch, self._aliases, self._regret = watch, aliases, regret
        self._worker_died, self._not_followed, self._published = worker_died, not_followed, published

    def values(self) -> dict[str, Values]:
        """By stem and labels."""
        status, regret = self._watch.status, self._regret.topics
        load = status.load if status is not None else None
        traces = status.traces if status is not None else None
        audit = (status.audit if status is not None else None) or AuditState()
        shown, not_shown = self._published()
        versions = [split_label(label) for label in self._watch.drafts.values()]
        return {
            "num_requests_running": {(): float(load.running if load else 0)},
            "num_requests_waiting": {(): float(load.waiting if load else 0)},
            "num_slots": {(): float(self._watch.slots)},
            "degraded": {(reason,): 1.0 for reason in degraded(status, self._worker_died(), self._not_followed())},
            "draft_version_info": {(name, version, self._aliases.get(name, "")): 1.0 for name, version in versions},
            "traces_written": {(): float(traces.written if traces else 0)},
            "traces_dropped": {(): float(traces.dropped if traces else 0)},
            "mlflow_traces_written": {(): float(shown)},
            "mlflow_traces_dropped": {(): float(not_shown)},
            "audit_answers": {(): float(audit.answers)},
            "audit_mismatches": {(): float(audit.mismatches)},
            "audit_dropped": {(): float(audit.dropped)},
            "audit_largest_gap": {(): audit.largest_gap},
            "regret_runs": {(topic,): each.lost_runs for topic, each in regret.items()},
            "regret_tokens": {(topic,): each.tokens for topic, each in regret.items()},
        }
