"""The Grafana dashboard and the alerts ask for metrics that there are."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.seeing.catalogue import CATALOGUE, PREFIX
from serving.seeing.metrics import Metrics
from serving.seeing.regret_file import RegretFile
from serving.seeing.state import State
from tests.serving.seeing.toy_watch import Stage

CONFIGS = Path(__file__).parents[3] / "configs"
DASHBOARD: dict[str, Any] = json.loads((CONFIGS / "grafana" / "polydraft.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((CONFIGS / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Everything that is asked: panels, annotations, variables, alerts."""
    asked = [target["expr"] for panel in PANELS for target in panel["targets"]]
    asked += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    variables = [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    return [*asked, *variables, *(rule["expr"] for rule in RULES)]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a server shows at the start."""
    watch = Stage().watch
    state = State(watch, {}, RegretFile(tmp_path_factory.mktemp("none") / "none"), lambda: False)
    return Metrics(watch.tally, state.values, os.getpid).text().decode()


def test_every_metric_that_is_asked_for_is_shown(scraped: str) -> None:
    """By its whole name."""
    families = dict(line.split()[2:] for line in scraped.splitlines() if line.startswith("# TYPE"))
    shown = set()
    for name, kind in families.items():
        shown |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    asked = {name for each in expressions() for name in re.findall(rf"\b(?:{PREFIX}|process_)\w+", each)}
    assert asked <= shown
    assert len(asked) > 20


def test_every_metric_of_the_catalogue_is_asked_for() -> None:
    """What nobody looks at need not be counted; prompt tokens are for those who bill."""
    asked = " ".join(expressions())
    unseen = {metric.name for metric in CATALOGUE if metric.name not in asked}
    assert unseen == {f"{PREFIX}prompt_tokens_total", f"{PREFIX}request_success_total"}


def test_labels_that_are_asked_for_are_there() -> None:
    """In selectors and groupings of each metric."""
    known = {metric.name: {*metric.labels, "instance", "job", "le"} for metric in CATALOGUE}
    for expression in expressions():
        for name, selector in re.findall(rf"({PREFIX}\w+){{([^}}]*)}}", expression):
            metric = re.sub("_(bucket|sum|count)$", "", name)
            asked = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", selector))
            assert asked <= known.get(metric, {"instance", "job"}), expression


def test_every_panel_says_what_it_shows() -> None:
    """A sentence and a unit; no two at one place."""
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        taken = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= taken
