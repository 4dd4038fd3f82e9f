"""A share of a real server's answers is in MLflow afterwards: times and counts, text only where traces are kept."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.section import RegistrySection
from registry.store import Registry
from serving.config import Deployment
from serving.ports import free_port
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import changed
from tests.e2e.test_metrics import samples

pytestmark = pytest.mark.e2e

PROMPT = "the one and the other"
BODY: Any = {"model": "toy", "prompt": PROMPT, "temperature": 0, "max_tokens": 12, "ignore_eos": True}
PHASES = {"queue", "routing", "prompt", "decoding"}


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: a fresh database takes seconds."""
    place = tmp_path_factory.mktemp("registry")
    Registry.open(section(place))
    return place


@pytest.fixture
def place(empty_registry: Path, tmp_path: Path) -> Path:
    """An empty registry."""
    return Path(shutil.copytree(empty_registry, tmp_path / "registry"))


def section(place: Path) -> RegistrySection:
    return RegistrySection(uri=f"sqlite:///{place}/mlflow.db")


def seen(deployment: Deployment, registry: RegistrySection, share: float = 1.0, **sections: Any) -> Deployment:
    serving = {**deployment.serving.model_dump(), "mlflow_trace_share": share}
    return changed(deployment, serving=serving, registry=registry.model_dump(), **sections)


def end(running: Server) -> None:
    """Gently."""
    running.signal(signal.SIGTERM)
    assert running.wait_gone() == {}


def wait_for(running: Server, **counts: int) -> None:
    """Until so many traces are counted."""
    until = time.monotonic() + 60
    with httpx.Client(base_url=running.url) as http:
        while any(samples(http)[(f"mlflow_traces_{name}_total",)] < count for name, count in counts.items()):
            assert time.monotonic() < until, running.log.read_text()
            time.sleep(0.1)


def traces(place: Path) -> dict[str, Any]:
    """What MLflow has, by the id of the request."""
    client = Registry.open(section(place)).client
    experiment = client.get_experiment_by_name("toy-serve")
    return {trace.info.trace_id: trace for trace in client.search_traces([experiment.experiment_id])}


def trace_id(reply: dict[str, Any]) -> str:
    return f"tr-{reply['id'].partition('-')[2]}"


def test_every_answer_of_a_whole_share_is_there_without_text(
    deployment: Deployment, place: Path, tmp_path: Path
) -> None:
    """What the trace says is what the reply said, also of the last ones before the server ends."""
    with server(seen(deployment, section(place)), tmp_path) as running:
        first = httpx.post(f"{running.url}/v1/completions", json=BODY).json()
        wait_for(running, written=1)  # MLflow is imported
        said = [httpx.post(f"{running.url}/v1/completions", json={**BODY, "draft": "math"}).json() for _ in range(3)]
        said.append(httpx.post(f"{running.url}/v1/completions", json={**BODY, "draft": "none"}).json())
        streamed = httpx.post(f"{running.url}/v1/completions", json={**BODY, "draft": "sql", "stream": True, "n": 2})
        said.append(json.loads(streamed.text.removeprefix("data: ").partition("\n")[0]))
        assert httpx.get(f"{running.url}/health").json()["status"] == "ready"
        end(running)
    found = traces(place)
    assert len(found) == 7
    assert set(map(trace_id, [first, *said])) < set(found)
    for trace in found.values():
        spans = {span.name: span for span in trace.data.spans}
        root = spans.pop("answer")
        assert set(spans) == PHASES
        assert all(span.parent_id == root.span_id for span in spans.values())
        assert all(root.start_time_ns <= span.start_time_ns <= span.end_time_ns for span in spans.values())
        assert max(span.end_time_ns for span in spans.values()) <= root.end_time_ns + 1000
        assert (root.inputs, root.outputs) == (None, None)
        assert PROMPT not in json.dumps([span.to_dict() for span in trace.data.spans])
    for reply, draft in zip(said[:4], ["math"] * 3 + ["none"], strict=True):
        trace, report = found[trace_id(reply)], reply["polydraft"]
        assert (trace.info.tags["topic"], trace.info.tags["draft"]) == (report["topic"] or "none", draft)
        spans = {span.name: span for span in trace.data.spans}
        decoding = spans["decoding"].attributes
        assert decoding["drafted"] == report["num_draft_tokens"]
        assert decoding["accepted"] == report["num_accepted_tokens"]
        assert decoding["target_runs"] == report["num_target_runs"]
        assert decoding["mean_acceptance_length"] == report["mean_acceptance_length"]
        root = spans["answer"].attributes
        assert (root["completion_tokens"], root["finish_reason"], root["reason"]) == (12, "length", "asked")
        assert (root["model"], root["prompt_tokens"]) == ("toy", reply["usage"]["prompt_tokens"])


def test_text_goes_where_traces_go(deployment: Deployment, place: Path, tmp_path: Path) -> None:
    """Not of requests that opt out, nor of those in which a pattern is found."""
    kept = {"enabled": True, "folder": str(tmp_path / "traces"), "redact": ["secret"]}
    with server(seen(deployment, section(place), traces=kept), tmp_path) as running:
        asked = [{}, {"polydraft": {"trace": False}}, {"prompt": "a secret word"}]
        said = [httpx.post(f"{running.url}/v1/completions", json={**BODY, **fields}).json() for fields in asked]
        wait_for(running, written=3)
        end(running)
    found = traces(place)
    texts = [
        (found[trace_id(reply)].data.spans[0].inputs, found[trace_id(reply)].data.spans[0].outputs) for reply in said
    ]
    assert texts == [(PROMPT, said[0]["choices"][0]["text"]), (None, None), (None, None)]


def test_a_registry_that_is_gone_costs_traces_and_nothing_else(deployment: Deployment, tmp_path: Path) -> None:
    """Replies and health are as ever; what is dropped is counted, and the log says so once."""
    nowhere = RegistrySection(uri=f"http://127.0.0.1:{free_port()}", timeout_seconds=0.5)
    with server(seen(deployment, nowhere), tmp_path) as running, httpx.Client(base_url=running.url) as http:
        plain = http.post("/v1/completions", json={**BODY, "draft": "none"}).json()["choices"][0]["text"]
        for _ in range(7):
            reply = http.post("/v1/completions", json={**BODY, "draft": "math"})
            assert (reply.status_code, reply.json()["choices"][0]["text"]) == (200, plain)
        wait_for(running, dropped=8)
        assert samples(http)[("mlflow_traces_written_total",)] == 0
        assert http.get("/health").json()["status"] == "ready"
        end(running)
    assert running.log.read_text().count("MLflow traces cannot be written") == 1


def test_a_small_share_is_small(deployment: Deployment, place: Path, tmp_path: Path) -> None:
    """And those that are drawn are counted."""
    with server(seen(deployment, section(place), share=0.25), tmp_path) as running:
        with httpx.Client(base_url=running.url) as http:
            for _ in range(40):
                http.post("/v1/completions", json={**BODY, "max_tokens": 1}).raise_for_status()
        wait_for(running, written=1)
        end(running)
    assert 0 < len(traces(place)) < 30
