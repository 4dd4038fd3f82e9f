"""What is so now, rather than counted: load, versions that serve, parts that do not work, and what others keep."""

from collections.abc import Callable, Mapping

from registry.names import Reference
from serving.config import Deployment
from serving.deployment import REGISTRY_SCHEME
from serving.plan import draft_sources
from serving.seeing.history import Counts
from serving.seeing.labels import split_label
from serving.seeing.metrics import Values
from serving.seeing.regret_file import RegretFile
from serving.seeing.speedup import expected_speedup
from serving.seeing.watch import Watch
from serving.wire import AuditState, Status

Drift = tuple[Mapping[tuple[str, str], bool], float | None]

_RECENT = "15m"


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
        verdicts: versions by topic and what became of them.
        drift: whether something has drifted, by topic and what, and when somebody looked.
    """

    def __init__(
        self,
        watch: Watch,
        aliases: Mapping[str, str],
        regret: RegretFile,
        worker_died: Callable[[], bool],
        not_followed: Callable[[], bool] = lambda: False,
        published: Callable[[], tuple[int, int]] = lambda: (0, 0),
        verdicts: Callable[[], Mapping[str, Mapping[str, int]]] = dict,
        drift: Callable[[], Drift] = lambda: ({}, None),
    ):
        self._watch, self._aliases, self._regret = watch, aliases, regret
        self._worker_died, self._not_followed, self._published = worker_died, not_followed, published
        self._verdicts, self._drift = verdicts, drift

    def values(self) -> dict[str, Values]:
        """By stem and labels."""
        status, regret = self._watch.status, self._regret.topics
        load = status.load if status is not None else None
        traces = status.traces if status is not None else None
        audit = (status.audit if status is not None else None) or AuditState()
        shown, not_shown = self._published()
        drifted, looked = self._drift()
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
            "expected_speedup_ratio": self._speedups(),
            "distill_candidates": {
                (topic, verdict): float(count)
                for topic, row in self._verdicts().items()
                for verdict, count in row.items()
            },
            "topic_drift": {key: float(is_so) for key, is_so in drifted.items()},
            "topic_drift_timestamp_seconds": {(): looked} if looked is not None else {},
            "regret_runs": {(topic,): each.lost_runs for topic, each in regret.items()},
            "regret_tokens": {(topic,): each.tokens for topic, each in regret.items()},
        }

    def _speedups(self) -> dict[tuple[str, ...], float]:
        """By topic, of the last minutes; nothing where costs were not measured, since the length is fixed."""
        if self._watch.costs is None:
            return {}
        now, _ = self._watch.now()
        topics: dict[str, Counts] = {}
        for _, span in self._watch.history.rings[_RECENT].spans(now):
            for (topic, _), counts in span.cells.items() if span is not None else ():
                topics.setdefault(topic, Counts()).add(counts)
        found = {topic: expected_speedup(counts, *self._watch.costs) for topic, counts in topics.items()}
        return {(topic,): value for topic, value in found.items() if value is not None}
