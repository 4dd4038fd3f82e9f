"""A real Prometheus scrapes a real server, and answers what the Grafana dashboard and the alerts ask."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.ports import free_port
from tests.serving.seeing.test_dashboard import CONFIGS, DASHBOARD, PANELS, RULES

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")]

# Panels that need what a minute with toys does not bring: a failure, a router, learning, costs.
QUIET = {"What does not work", "Regret", "Routing time", "Expected speed-up", "Candidates", "Drift"}
VARIABLES = {"$__rate_interval": "8s", "$__range": "1m", "$instance": ".+", "$topic": ".+"}


class Prometheus:
    """Asked over its HTTP API."""

    def __init__(self, url: str):
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def ask(self, expression: str) -> list[Any]:
        """The series of an expression with its variables filled in."""
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        answer = self._client.get("/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer.get("error"))
        found: list[Any] = answer["data"]["result"]
        return [series for series in found if series["value"][1] != "NaN"]

    def close(self) -> None:
        self._client.close()

    def rules(self) -> list[Any]:
        """Every alert, with its health."""
        groups = self._client.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait_for(self, expression: str) -> None:
        """Until an expression has series."""
        end = time.monotonic() + 30
        while not self.ask(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.2)


@pytest.fixture(scope="module")
def prometheus(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The shipped configuration, but for where the server is and how often it is asked."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = yaml.safe_load((CONFIGS / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [url.removeprefix("http://")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(CONFIGS / "prometheus" / "alerts.yml", folder)
    assert PROMETHEUS is not None
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROMETHEUS, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 30
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.2)
        asked = Prometheus(f"http://127.0.0.1:{port}")
        yield asked
        asked.close()
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def busy(prometheus: Prometheus, url: str) -> Prometheus:
    """After some seconds of answers, drafted and plain."""
    prometheus.wait_for("polydraft_num_slots")
    end = time.monotonic() + 6
    while time.monotonic() < end:
        for draft in ("sql", "none", "general", "lookup"):
            body = {"model": "toy", "prompt": "the one on the", "temperature": 0, "max_tokens": 40, "draft": draft}
            httpx.post(f"{url}/v1/completions", json=body).raise_for_status()
    time.sleep(1.5)  # the last of it is scraped
    return prometheus


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    """With the configuration and its rules."""
    assert PROMTOOL is not None
    shown = subprocess.run(
        [PROMTOOL, "check", "config", CONFIGS / "prometheus" / "prometheus.yml"], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert f"{len(RULES)} rules found" in shown.stdout + shown.stderr


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_show_something(busy: Prometheus, panel: Any) -> None:
    """Every query is understood, and answered where a minute with toys gives it anything to answer."""
    for target in panel["targets"]:
        series = busy.ask(target["expr"])
        assert bool(series) != (panel["title"] in QUIET), target["expr"]


def test_annotations_are_understood(busy: Prometheus) -> None:
    """They mark versions that take over, of which there are none here."""
    for annotation in DASHBOARD["annotations"]["list"]:
        assert busy.ask(annotation["expr"]) == []


def test_alerts_are_healthy_and_silent(busy: Prometheus) -> None:
    """On a server that works."""
    assert [(rule["name"], rule["health"], rule["state"]) for rule in busy.rules()] == [
        (rule["alert"], "ok", "inactive") for rule in RULES
    ]


def test_figures_are_those_of_the_server(busy: Prometheus, url: str) -> None:
    """What Prometheus has is what was served: tokens a run of drafted answers lie above those of plain ones."""
    [whole] = busy.ask(next(panel["targets"][0]["expr"] for panel in PANELS if panel["title"] == "Tokens a target run"))
    assert float(whole["value"][1]) > 1
    topics = {series["metric"]["topic"] for series in busy.ask('polydraft_spec_decode_num_drafts_total{topic="sql"}')}
    assert topics == {"sql"}
