"""Every metric by name: kind, labels, and one sentence. docs/seeing.md and the Grafana dashboard are held to it.

Stems and meaning are vLLM's (`vllm/v1/metrics`, `vllm/v1/spec_decode/metrics.py`) where it has them, after our own
prefix: Prometheus keeps colons for recording rules.
"""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "polydraft_"


class Kind(StrEnum):
    """Prometheus's types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of series. ``stem`` has neither prefix nor a counter's ``_total``."""

    stem: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As scraped; a histogram's series add ``_bucket``, ``_sum`` and ``_count``."""
        return f"{PREFIX}{self.stem}{'_total' if self.kind is Kind.COUNTER else ''}"


def _counter(stem: str, meaning: str, *labels: str) -> Metric:
    return Metric(stem, Kind.COUNTER, meaning, labels)


def _gauge(stem: str, meaning: str, *labels: str) -> Metric:
    return Metric(stem, Kind.GAUGE, meaning, labels)


def _histogram(stem: str, meaning: str, *labels: str) -> Metric:
    return Metric(stem, Kind.HISTOGRAM, meaning, labels)


_DRAFT = ("topic", "draft", "version")

CATALOGUE = (
    _counter("requests", "HTTP requests by route and status code.", "endpoint", "code"),
    _counter("request_success", "Answers that ended well, by finish reason.", "finished_reason"),
    _counter("request_failures", "Answers that did not: deadline, error, or left (the client did).", "reason"),
    _counter("prompt_tokens", "Tokens of prompts, counted once an answer."),
    _counter("generation_tokens", "Tokens of answers by who wrote them.", "origin"),
    _counter("request_runs", "Target runs by answer: one run of the target over five answers counts five.", "mode"),
    _counter("spec_decode_num_drafts", "Proposals that the target verified.", *_DRAFT),
    _counter("spec_decode_num_draft_tokens", "Tokens proposed.", *_DRAFT),
    _counter("spec_decode_num_accepted_tokens", "Tokens proposed and accepted.", *_DRAFT),
    _counter(
        "spec_decode_num_accepted_tokens_per_pos", "Those by position in the proposal, from 0.", *_DRAFT, "position"
    ),
    _counter("routing_decisions", "Answers by the routing that they ended with.", "topic", "draft", "reason"),
    _counter("draft_swaps", "Draft versions that came while serving: installed, or refused.", "draft", "result"),
    _counter("draft_rollbacks", "Versions that did worse than the ones before them, which serve again.", "draft"),
    _counter(
        "regret_runs", "Target runs that the best draft in hindsight would have saved, of scored traces.", "topic"
    ),
    _counter("regret_tokens", "Tokens of the traces that were scored for it.", "topic"),
    _counter("step_seconds", "Time that the step loop has spent in steps."),
    _counter("traces_written", "Traces written."),
    _counter("traces_dropped", "Traces dropped, because writing fell behind or failed."),
    _counter("mlflow_traces_written", "Answers written to MLflow as traces."),
    _counter(
        "mlflow_traces_dropped",
        "Answers drawn for that and not written, because writing fell behind or the registry is gone.",
    ),
    _counter("audit_answers", "Answers that were decoded again without drafts, and compared."),
    _counter("audit_mismatches", "Answers of these that differed."),
    _counter("audit_dropped", "Answers drawn for that and not compared, for want of idle time."),
    _histogram("time_to_first_token_seconds", "From a request's arrival to its first token."),
    _histogram("inter_block_latency_seconds", "Between what two target runs gave to an answer."),
    _histogram("e2e_request_latency_seconds", "From arrival to the last token."),
    _histogram("route_duration_seconds", "From arrival until the router's decision took effect."),
    _gauge("num_requests_running", "Answers that hold a slot."),
    _gauge("num_requests_waiting", "Answers that wait for one."),
    _gauge("num_slots", "Slots of the target's cache."),
    _gauge("audit_largest_gap", "Of the answers that differed: the target's top-two gap where they part, in logits."),
    _gauge("degraded", "1 for each part that does not work as it should.", "reason"),
    _gauge(
        "expected_speedup_ratio",
        "Tokens a unit of time over plain decoding's, by 15 minutes' counts and measured costs.",
        "topic",
    ),
    _gauge("distill_candidates", "Versions in the registry by what became of them.", "topic", "verdict"),
    _gauge(
        "topic_drift", "1 where the last `polydraft topics drift` found that it has drifted, else 0.", "topic", "of"
    ),
    _gauge("topic_drift_timestamp_seconds", "When that was."),
    _gauge("draft_version_info", "1 for each version that serves.", "draft", "version", "alias"),
)
BY_STEM = {metric.stem: metric for metric in CATALOGUE}
