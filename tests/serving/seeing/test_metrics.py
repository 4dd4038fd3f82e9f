import json
import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from decoding.costs import StepCosts
from decoding.request import SpeculationCounts
from serving.canaries import speedup_of
from serving.config import Deployment
from serving.seeing.catalogue import CATALOGUE, PREFIX
from serving.seeing.history import Counts
from serving.seeing.metrics import Metrics
from serving.seeing.regret_file import RegretFile, TopicRegret
from serving.seeing.speedup import expected_speedup
from serving.seeing.state import State, aliases_of, degraded
from serving.wire import Load, Status
from tests.serving.seeing.toy_watch import B, C, D, L, P, Stage


def scraped(
    stage: Stage, folder: Path, aliases: dict[str, str] | None = None
) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name and by label values, labels in the order of their names."""
    state = State(stage.watch, aliases or {}, RegretFile(folder / "shadow.json"), lambda: False)
    text = Metrics(stage.watch.tally, state.values, os.getpid).text().decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_every_family_of_the_catalogue_is_described(tmp_path: Path) -> None:
    """With its type, before anything has happened."""
    state = State(Stage().watch, {}, RegretFile(tmp_path / "none"), lambda: False)
    text = Metrics(Stage().watch.tally, state.values, lambda: None).text().decode()
    kinds = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
    assert {metric.name: metric.kind.value for metric in CATALOGUE}.items() <= kinds.items()


def test_what_is_counted_is_scraped(tmp_path: Path) -> None:
    """Names and labels as a dashboard asks for them."""
    stage = Stage(slots=4)
    stage.say(drafts={"sql": "sql@v1"}, load=Load(running=2, waiting=1, free_slots=2))
    stage.open("a", prompt=5)
    stage.route("a")
    stage.run("a", 3, [D, D, C])
    stage.say(load=Load(running=2, waiting=1))
    samples = scraped(stage, tmp_path, {"sql": "champion"})
    assert samples["polydraft_spec_decode_num_accepted_tokens_total"] == {("sql", "sql", "v1"): 2}
    per_position = samples["polydraft_spec_decode_num_accepted_tokens_per_pos_total"]
    assert per_position == {("sql", "0", "sql", "v1"): 1, ("sql", "1", "sql", "v1"): 1}
    assert samples["polydraft_prompt_tokens_total"] == {(): 5}
    assert samples["polydraft_num_requests_running"] == {(): 2}
    assert samples["polydraft_num_requests_waiting"] == {(): 1}
    assert samples["polydraft_num_slots"] == {(): 4}
    assert samples["polydraft_draft_version_info"] == {("champion", "sql", "v1"): 1}


def test_histograms_are_cumulative(tmp_path: Path) -> None:
    """Up to +Inf, which is their count."""
    stage = Stage()
    stage.open("a")
    stage.now += 0.02
    stage.run("a", 0, [P])
    samples = scraped(stage, tmp_path)
    buckets = samples["polydraft_time_to_first_token_seconds_bucket"]
    assert (buckets[("0.015",)], buckets[("0.025",)], buckets[("+Inf",)]) == (0, 1, 1)
    assert samples["polydraft_time_to_first_token_seconds_count"] == {(): 1}


def test_memory_of_both_processes_is_told(tmp_path: Path) -> None:
    """Of this one, and of the worker under a name of its own."""
    samples = scraped(Stage(), tmp_path)
    assert samples["process_resident_memory_bytes"][()] > 1e6
    assert samples[f"{PREFIX}worker_process_resident_memory_bytes"][()] > 1e6


def test_regret_is_read_from_what_learning_keeps(tmp_path: Path) -> None:
    """Anew when it has changed; a damaged file leaves the last figures."""
    file = tmp_path / "shadow.json"
    regret = RegretFile(file)
    assert regret.topics == {}
    sums = {"answers": 3, "tokens": 100, "chosen_runs": 40.0, "best_runs": 33.5}
    file.write_text(json.dumps({"topics": {"sql": sums}, "others": 1}))
    assert regret.topics == {"sql": TopicRegret(100, 6.5)}
    assert scraped(Stage(), tmp_path)["polydraft_regret_runs_total"] == {("sql",): 6.5}
    file.write_text("{")
    os.utime(file, ns=(1, 1))
    assert regret.topics == {"sql": TopicRegret(100, 6.5)}


def test_a_topics_speed_up_is_its_tokens_over_what_they_cost(tmp_path: Path) -> None:
    """In plain runs; what is copied costs no draft step, and nothing is said where costs are not known."""
    stage = Stage()
    stage.open("a")
    stage.route("a")
    stage.run("a", 0, [P])
    stage.run("a", 4, [D, D, D, C])
    stage.run("a", 4, [L, L, B])
    assert "polydraft_expected_speedup_ratio" not in scraped(stage, tmp_path)
    stage.watch.costs = (0.25, 1.5)
    wanted = 8 / (3 + 8 * 0.5 / 4 + 4 * 0.25)
    assert scraped(stage, tmp_path)["polydraft_expected_speedup_ratio"] == {("sql",): pytest.approx(wanted)}
    stage.now += 1000
    assert "polydraft_expected_speedup_ratio" not in scraped(stage, tmp_path)


def test_a_topics_speed_up_is_what_the_canary_reckons() -> None:
    """Where rows beyond the first cost alike."""
    counts = SpeculationCounts(num_target_runs=3, num_draft_tokens=8, num_copied_tokens=4, num_generated_tokens=9)
    costs = StepCosts({1: 1.0, 5: 1.5}, {1: 0.25})
    seen = Counts(tokens=9, runs=3, drafts=2, drafted=8, copied=4)
    assert expected_speedup(seen, 0.25, 1.5) == pytest.approx(speedup_of(counts, costs))
    assert expected_speedup(Counts(), 0.25, 1.5) is None


def test_what_others_keep_is_shown(tmp_path: Path) -> None:
    """Verdicts of versions, drift, and MLflow traces."""
    state = State(
        Stage().watch,
        {},
        RegretFile(tmp_path / "none"),
        lambda: False,
        published=lambda: (5, 2),
        verdicts=lambda: {"sql": {"promoted": 2, "rolled back": 1}},
        drift=lambda: ({("sql", "queries"): True, ("all", "queries"): False}, 1_700_000_000.0),
    )
    values = state.values()
    assert (values["mlflow_traces_written"], values["mlflow_traces_dropped"]) == ({(): 5}, {(): 2})
    assert values["distill_candidates"] == {("sql", "promoted"): 2, ("sql", "rolled back"): 1}
    assert values["topic_drift"] == {("sql", "queries"): 1, ("all", "queries"): 0}
    assert values["topic_drift_timestamp_seconds"] == {(): 1_700_000_000}


def test_what_does_not_work_is_named() -> None:
    """In few words, so that an alert can ask for them."""
    assert degraded(None, worker_died=False) == ["starting"]
    assert degraded(Status(1, Load(), "ready"), worker_died=False) == []
    assert degraded(Status(1, Load(), "cannot be read"), worker_died=True) == ["worker", "router"]
    assert degraded(Status(1, Load(), "off"), worker_died=False, not_followed=True) == ["registry"]
    assert degraded(Status(1, Load(), "off", drafts_refused=("sql@v2",)), worker_died=False) == ["registry"]


def test_aliases_are_those_that_a_deployment_follows() -> None:
    """A folder follows none."""
    drafts = {
        "general": {"model": "registry://x-draft-general@champion"},
        "topics": {"sql": {"model": "registry://x-draft-sql@v3"}, "math": {"model": "/somewhere"}},
    }
    assert aliases_of(Deployment.model_validate({"drafts": drafts})) == {"general": "champion", "sql": "", "math": ""}
