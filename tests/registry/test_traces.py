"""Traces go to MLflow whole, or whoever writes them is told."""

import time
from dataclasses import replace

import pytest

from configs.errors import RegistryError
from registry.experiments import experiment_name
from registry.store import Registry
from registry.traces import SpanRecord, TraceRecord, TraceWriter

REQUEST = "0123456789abcdef0123456789abcdef"


def make(request_id: str = REQUEST, at: float | None = None, **changes: object) -> TraceRecord:
    """An answer of one second that began now, or ``at``."""
    at = time.time() if at is None else at
    known: dict[str, object] = {
        "whole": SpanRecord("answer", at, at + 1, {"seconds": 1.0}),
        "phases": (SpanRecord("queue", at, at + 0.25), SpanRecord("prompt", at + 0.25, at + 1, {"prompt_tokens": 5})),
        "tags": {"topic": "sql", "draft": "sql@v3"},
        "tokens": (5, 7),
    }
    return TraceRecord(request_id, **{**known, **changes})  # type: ignore[arg-type]


def found(registry: Registry) -> list:
    experiment = registry.client.get_experiment_by_name("starter-serve")
    return list(registry.client.search_traces([experiment.experiment_id]))


def test_a_trace_is_read_back_as_it_was_written(registry: Registry) -> None:
    """Spans with their times and attributes, tags, tokens; no text where none was given."""
    TraceWriter(registry, experiment_name("starter", "serve")).write([make(at=1_700_000_000.0)])
    [trace] = found(registry)
    assert (trace.info.trace_id, trace.info.state.value) == (f"tr-{REQUEST}", "OK")
    assert (trace.info.request_time, trace.info.execution_duration) == (1_700_000_000_000, 1000)
    assert {"topic": "sql", "draft": "sql@v3"}.items() <= trace.info.tags.items()
    assert trace.info.token_usage == {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    spans = {span.name: span for span in trace.data.spans}
    assert set(spans) == {"answer", "queue", "prompt"}
    assert [spans[name].parent_id for name in ("queue", "prompt")] == [spans["answer"].span_id] * 2
    assert spans["queue"].end_time_ns - spans["queue"].start_time_ns == pytest.approx(250_000_000, abs=1000)
    assert spans["prompt"].get_attribute("prompt_tokens") == 5
    assert (spans["answer"].inputs, spans["answer"].outputs) == (None, None)


def test_text_is_there_where_it_was_given(registry: Registry) -> None:
    writer = TraceWriter(registry, "starter-serve")
    writer.write([make(text=("how many?", "three"))])
    [trace] = found(registry)
    assert (trace.data.spans[0].inputs, trace.data.spans[0].outputs) == ("how many?", "three")


def test_many_are_written_at_once_and_one_that_is_there_is_replaced(registry: Registry) -> None:
    """Ids that are no trace's become one, the same each time."""
    writer = TraceWriter(registry, "starter-serve")
    writer.write([make(REQUEST), make(f"{REQUEST}-1"), make(f"{REQUEST}-2")])
    writer.write([make(f"{REQUEST}-2")])
    assert len({trace.info.trace_id for trace in found(registry)}) == len(found(registry)) == 3


def test_a_failed_answer_is_an_error_that_says_why(registry: Registry) -> None:
    TraceWriter(registry, "starter-serve").write([make(failure="deadline")])
    [trace] = found(registry)
    assert trace.info.state.value == "ERROR"
    assert trace.data.spans[0].status.description == "deadline"


def test_old_ones_are_removed_and_new_ones_stay(registry: Registry) -> None:
    """By when they began."""
    writer, now = TraceWriter(registry, "starter-serve"), time.time()
    writer.write([make("a" * 32, now - 100), make("b" * 32, now)])
    assert writer.remove_before(now - 50) == 1
    assert [trace.info.trace_id for trace in found(registry)] == [f"tr-{'b' * 32}"]


def test_the_experiment_opens_with_its_traces(registry: Registry) -> None:
    """MLflow's pages go by its kind."""
    TraceWriter(registry, "starter-serve")
    tags = registry.client.get_experiment_by_name("starter-serve").tags
    assert tags["mlflow.experimentKind"] == "genai_development"
    assert "mlflow_trace_share" in tags["mlflow.note.content"]


def test_a_registry_that_is_gone_is_said(registry: Registry) -> None:
    """By its address; nobody counts what did not arrive."""
    nowhere = replace(registry.location, tracking_uri="http://127.0.0.1:1", timeout_seconds=0.5)
    writer = TraceWriter(Registry(nowhere, registry.client), "starter-serve")
    with pytest.raises(RegistryError, match=r"no registry answers at http://127\.0\.0\.1:1"):
        writer.write([make()])
