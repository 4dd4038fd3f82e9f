"""`/metrics` of a running server says what its replies say."""

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.client import running_server
from serving.config import Deployment
from tests.e2e.test_lifecycle import changed

pytestmark = pytest.mark.e2e

BODY: Any = {"model": "toy", "prompt": "the one", "temperature": 0, "max_tokens": 40, "ignore_eos": True}


def samples(http: httpx.Client) -> dict[tuple[str, ...], float]:
    """Values by name and label values, labels in the order of their names."""
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(response.text)
    return {
        (sample.name.removeprefix("polydraft_"), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_counters_grow_by_what_the_replies_report(http: httpx.Client) -> None:
    """Speculation by draft and position, writers, runs, prompts, ends, routes."""
    before = samples(http)
    replies = [http.post("/v1/completions", json={**BODY, "draft": draft}).json() for draft in ("math", "math", "none")]
    replies.append(http.post("/v1/completions", json={**BODY, "draft": "math", "stream": False, "n": 2}).json())
    after = samples(http)

    def grown(*key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    reports = [reply["polydraft"] for reply in replies]
    drafted = [report for report in reports if report["draft"] == "math"]
    for stem, key in (("drafts", "num_spec_steps"), ("draft_tokens", "num_draft_tokens")):
        assert grown(f"spec_decode_num_{stem}_total", "math", "math", "") == sum(report[key] for report in drafted)
    for position in range(4):
        wanted = sum((report["accepted_per_position"] + [0] * 4)[position] for report in drafted)
        name = "spec_decode_num_accepted_tokens_per_pos_total"
        assert grown(name, "math", str(position), "math", "") == wanted
    for origin in ("draft", "corrected", "bonus", "plain"):
        wanted = sum(report["origins"].get(origin, 0) for report in reports)
        assert grown("generation_tokens_total", origin) == wanted
    runs = grown("request_runs_total", "plain") + grown("request_runs_total", "speculative")
    assert runs == sum(report["num_target_runs"] for report in reports)
    prompt = replies[0]["usage"]["prompt_tokens"]
    assert grown("prompt_tokens_total") == 5 * prompt
    assert grown("request_success_total", "length") == 5
    assert grown("routing_decisions_total", "math", "asked", "math") == 4
    assert grown("requests_total", "200", "/v1/completions") == 4
    assert grown("time_to_first_token_seconds_count") == 5
    assert grown("inter_block_latency_seconds_count") == runs - 5
    assert grown("step_seconds_total") > 0


def test_refusals_are_counted_by_route_and_code(http: httpx.Client) -> None:
    """Strange paths under one name."""
    before = samples(http)
    http.post("/v1/completions", json={**BODY, "model": "nobody"})
    http.get("/v1/models/nobody")
    http.get("/v1/no/such/route")
    after = samples(http)
    for key in (("404", "/v1/completions"), ("404", "/v1/models/{name}"), ("404", "other")):
        assert after[("requests_total", *key)] == before.get(("requests_total", *key), 0) + 1


def test_figures_need_the_key_that_answers_need(deployment: Deployment, tmp_path: Any) -> None:
    """Prometheus can send one."""
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    guarded = changed(deployment, serving={**deployment.serving.model_dump(), "api_keys_file": str(keys)})
    with running_server(guarded) as url:
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_the_page_is_whole_and_nothing_else_is_behind_it(http: httpx.Client) -> None:
    """No path leads to another file; a range that there is not is refused by name."""
    page = http.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert http.get("/live/main.js").headers["content-type"].startswith("text/javascript")
    for path in ("/live/..%2froutes.py", "/live/%2e%2e/routes.py", "/live/", "/live/none.js"):
        assert http.get(path).status_code == 404, path
    refused = http.get("/live.json", params={"range": "1y"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "range")
