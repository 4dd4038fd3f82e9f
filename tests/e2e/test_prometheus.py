"""A real Prometheus scrapes real servers, and answers what the Grafana dashboard and the alerts ask.

One server is well. The other brings what a well one never shows: a version that is refused, and beside it a router,
versions that were judged, and files as `polydraft learn` and `polydraft topics drift` leave them.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from configs.console import write_whole
from registry.location import locate
from registry.names import CHAMPION, Reference
from registry.section import RegistrySection
from registry.verdicts import judge
from router.proposal import proposal_file
from serving.config import Deployment
from serving.ports import free_port
from serving.seeing.regret_file import FILE
from tests.e2e.processes import Server, server
from tests.e2e.test_faults import MODEL, Store, wait_for
from tests.e2e.test_following_router import STARTER
from tests.e2e.test_lifecycle import changed
from tests.serving.seeing.test_dashboard import CONFIGS, DASHBOARD, PANELS, RULES

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed"),
    pytest.mark.skipif(not STARTER.is_dir(), reason="starter/router is not there"),
]
QUIET = {"Expected speed-up"}
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


class Unwell:
    """The second server, and the folder where others leave figures for it."""

    def __init__(self, running: Server, labels: Path):
        self.url, self.instance, self._labels, self._looks = running.url, running.url.removeprefix("http://"), labels, 0

    def score(self) -> None:
        """One more look of `polydraft learn` at what other drafts would have cost."""
        self._looks += 1
        sums = {"tokens": 100.0 * self._looks, "chosen_runs": 50.0 * self._looks, "best_runs": 40.0 * self._looks}
        self._labels.mkdir(parents=True, exist_ok=True)
        write_whole(self._labels / FILE, json.dumps({"topics": {"sql": sums}}))


@pytest.fixture(scope="module")
def unwell(deployment: Deployment, toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unwell]:
    """Degraded: the champion of sql is damaged, and the one before it serves."""
    place = tmp_path_factory.mktemp("unwell")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYDRAFT_HOME", str(place / "home"))
        section = RegistrySection(uri=f"sqlite:///{place}/mlflow.db", poll_seconds=0.3)
        store, state = Store(deployment, toys, section), locate(section).state
        store.promote("math")
        judge(store.registry, store.registry.get(Reference(MODEL, CHAMPION, None)), "promoted", "by hand")
        proposal_file(state, deployment.name).note_drift(["sql"], {"sql": {"queries": True}})
        damaged = shutil.copytree(toys / "sql", place / "damaged")
        (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:-100])
        settings = changed(store.deployment, router={"model": str(STARTER)})
        with server(settings, place / "server") as running:
            wait_for(running, "ready")
            store.promote(damaged)
            wait_for(running, "degraded", "damaged")
            yield Unwell(running, state / "labels" / deployment.name)


@pytest.fixture(scope="module")
def prometheus(url: str, unwell: Unwell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The shipped configuration, but for where the servers are and how often they are asked."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = yaml.safe_load((CONFIGS / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [url.removeprefix("http://"), unwell.instance]
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
def busy(prometheus: Prometheus, url: str, unwell: Unwell) -> Prometheus:
    """After some seconds of answers, drafted and plain, and of routed ones."""
    unwell.score()
    prometheus.wait_for("polydraft_regret_tokens_total")
    prometheus.wait_for("polydraft_num_slots")
    routed = {"model": "toy", "prompt": "How many singers do we have?", "max_tokens": 2000, "ignore_eos": True}
    end, reasons = time.monotonic() + 6, [""]
    while time.monotonic() < end or set(reasons) <= {"", "undecided"}:  # a toy may say all before it is routed
        assert time.monotonic() < end + 40, reasons
        reply = httpx.post(f"{unwell.url}/v1/completions", json=routed, timeout=60).raise_for_status().json()
        reasons.append(reply["polydraft"]["reason"])
        unwell.score()
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
    """Every query is understood, and answered; but for one that needs measured costs, which no test may depend on."""
    for target in panel["targets"]:
        assert bool(busy.ask(target["expr"])) != (panel["title"] in QUIET), target["expr"]


def test_annotations_mark_what_takes_over(busy: Prometheus, unwell: Unwell) -> None:
    """A champion that was not there a minute ago; the server whose drafts are folders has none."""
    (annotation,) = DASHBOARD["annotations"]["list"]
    marked = [series["metric"] for series in busy.ask(annotation["expr"])]
    assert [(each["instance"], each["draft"], each["version"]) for each in marked] == [(unwell.instance, "sql", "v1")]


def test_alerts_are_healthy_and_say_what_is_so(busy: Prometheus, url: str, unwell: Unwell) -> None:
    """Nothing of the server that works; of the other that it is degraded, which has not lasted long enough to tell."""
    rules = busy.rules()
    assert [(rule["name"], rule["health"]) for rule in rules] == [(rule["alert"], "ok") for rule in RULES]
    said = {
        (alert["labels"].get("instance"), rule["name"]): alert["state"] for rule in rules for alert in rule["alerts"]
    }
    assert {instance for instance, _ in said} == {unwell.instance} != {url.removeprefix("http://")}
    assert said[unwell.instance, "PolydraftDegraded"] == "pending"
    assert "firing" not in said.values()


def test_figures_are_those_of_the_server(busy: Prometheus, url: str) -> None:
    """What Prometheus has is what was served: tokens a run of drafted answers lie above those of plain ones."""
    [whole] = busy.ask(next(panel["targets"][0]["expr"] for panel in PANELS if panel["title"] == "Tokens a target run"))
    assert float(whole["value"][1]) > 1
    topics = {series["metric"]["topic"] for series in busy.ask('polydraft_spec_decode_num_drafts_total{topic="sql"}')}
    assert topics == {"sql"}
