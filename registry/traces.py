"""Traces in MLflow: one for each answer that is to be seen there, written whole once all of its times are known.

MLflow's own tracer measures while code runs and logs its failures instead of raising them. Here the spans are over
before anybody writes them, and whoever writes must know whether they arrived; so they go to the tracking store as they
are, many traces in one transaction.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from configs.errors import RegistryError
from registry.connection import answering, check_there
from registry.experiments import experiment_id
from registry.store import Registry

_ID = "mlflow.traceRequestId"
_TAG = "mlflow.traceTag."  # attributes of the root span that become tags of the trace
_ROOT, _PHASE = "LLM", "TASK"  # of MLflow's kinds of spans


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """What happened between two times, in Unix seconds."""

    name: str
    began: float
    ended: float
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One answer.

    Attributes:
        request_id: 32 hexadecimal digits become the trace's id, ``tr-...``; of any other text it is a digest.
        whole: from arrival to end, with what is known of the answer at its end.
        phases: within it.
        tags: shown as columns of MLflow's list, and searched by.
        tokens: of prompt and answer.
        text: prompt and answer, where they may be kept.
        failure: why there is no whole answer.
    """

    request_id: str
    whole: SpanRecord
    phases: Sequence[SpanRecord]
    tags: Mapping[str, str]
    tokens: tuple[int, int]
    text: tuple[str, str] | None = None
    failure: str = ""

    @property
    def trace_id(self) -> str:
        """As MLflow calls it."""
        return f"tr-{_digits(self.request_id)}"


class TraceWriter:
    """Writes traces to one experiment, which is made if it is missing.

    Raises:
        RegistryError: the registry is gone, or its experiment was deleted.
    """

    def __init__(self, registry: Registry, experiment: str):
        from mlflow.tracing.client import TracingClient

        self._registry, self._location = registry, registry.location
        with answering(self._location):
            self._experiment = experiment_id(registry.client, experiment, self._location.artifact_root)
            self._client = TracingClient(self._location.tracking_uri)

    def write(self, traces: Sequence[TraceRecord]) -> None:
        """All of them or none; a trace that is there already is replaced.

        Raises:
            RegistryError: they did not arrive.
        """
        check_there(self._location)
        spans = [span for trace in traces for span in _spans(trace)]
        try:
            with answering(self._location):
                self._client.log_spans(self._experiment, spans)
        except NotImplementedError as error:
            raise RegistryError(
                f"the registry at {self._location.shown} takes no traces",
                do="it wants MLflow 3.4 or newer on a database",
                facts=(str(error),),
            ) from error

    def remove_before(self, at: float) -> int:
        """Remove the traces that began before ``at`` (Unix seconds); returns how many.

        Raises:
            RegistryError: the registry is gone.
        """
        check_there(self._location)
        with answering(self._location):
            last = int(at * 1000)
            return int(self._registry.client.delete_traces(self._experiment, max_timestamp_millis=last))


def _spans(trace: TraceRecord) -> Iterator[Any]:
    root = _span_id(0)
    about: dict[str, object] = {
        "mlflow.spanType": _ROOT,
        "mlflow.chat.tokenUsage": {
            "input_tokens": trace.tokens[0],
            "output_tokens": trace.tokens[1],
            "total_tokens": sum(trace.tokens),
        },
        **{f"{_TAG}{key}": value for key, value in {"mlflow.traceName": trace.whole.name, **trace.tags}.items()},
    }
    if trace.text is not None:
        about |= {"mlflow.spanInputs": trace.text[0], "mlflow.spanOutputs": trace.text[1]}
    yield _span(trace, trace.whole, root, None, about)
    for number, phase in enumerate(trace.phases, start=1):
        yield _span(trace, phase, _span_id(number), root, {"mlflow.spanType": _PHASE})


def _span(trace: TraceRecord, span: SpanRecord, own: str, parent: str | None, about: Mapping[str, object]) -> Any:
    from mlflow.entities import Span

    attributes = {_ID: trace.trace_id, **about, **span.attributes}
    failed = trace.failure and parent is None
    return Span.from_dict(
        {
            "trace_id": _base64(_digits(trace.request_id)),
            "span_id": own,
            "parent_span_id": parent,
            "name": span.name,
            "start_time_unix_nano": int(span.began * 1e9),
            "end_time_unix_nano": int(span.ended * 1e9),
            "status": {
                "code": f"STATUS_CODE_{'ERROR' if failed else 'OK'}",
                "message": trace.failure if failed else "",
            },
            "attributes": {key: json.dumps(value) for key, value in attributes.items()},
        }
    )


def _digits(request_id: str) -> str:
    if len(request_id) == 32 and not set(request_id) - set("0123456789abcdef"):
        return request_id
    return blake2b(request_id.encode(), digest_size=16).hexdigest()


def _span_id(number: int) -> str:
    return _base64(f"{number + 1:016x}")  # 0 is none to OpenTelemetry


def _base64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()
