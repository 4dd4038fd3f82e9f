"""`bench router-retrain`: what is embedded beforehand is all that a training asks for, and stages add up."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import router_retrain
from benchmarks.router_retrain import TOTAL, RetrainTrial, drawn, run_router_retrain, variants
from configs.errors import CorpusError
from registry import connection
from router.prompts import FOREIGN
from serving.config import load_deployment
from tests.registry.conftest import empty_home, template_database
from tests.router.routers import toy_router
from tests.router.stub_encoder import StubEncoder
from tests.training.routing.toys import records
from training.routing.prompts import Labelled, split_prompts
from training.routing.retrain import retrain

__all__ = ["empty_home", "template_database"]


def written(file: Path, given: list[Labelled]) -> Path:
    file.write_text("\n".join(json.dumps({"prompt": each.text, "topic": each.group}) for each in given))
    return file


def test_prompts_are_drawn_from_every_topic_alike() -> None:
    """Twice as many of none; a topic that runs out leaves its share to the others; copies count once."""
    given = [*records(60, seed=1), *records(60, seed=1)]
    assert Counter(each.group for each in drawn(given, 100)) == {"sql": 20, "math": 20, "shell": 20, FOREIGN: 40}
    short = [each for each in given if each.group != "sql"] + [Labelled("one question", "sql")] * 9
    assert Counter(each.group for each in drawn(short, 121))["sql"] == 1
    assert len({each.text for each in drawn(given, 240)}) == 240
    with pytest.raises(CorpusError, match="only 240 different prompts, and 241 are wanted"):
        drawn(given, 241)


def test_nothing_else_is_embedded_in_a_training() -> None:
    """A training asks for no text that `variants` leaves out."""
    prompts, encoder = records(100, seed=2), StubEncoder(dim=96)
    retrain(split_prompts(prompts, per_topic=None), encoder, None)
    assert set(encoder.encoded) <= set(variants(prompts))
    assert not set(encoder.encoded) <= {each.text for each in prompts}


@pytest.fixture
def deployment(
    config: Path, tmp_path: Path, empty_home: Path, template_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The toy deployment with a router that a stub encoder reads for; new registries begin with a copied database."""
    stub = StubEncoder()
    toy_router(stub).save(tmp_path / "router")
    plain = load_deployment(config)
    document = {**plain.model_dump(mode="json"), "router": {"model": str(tmp_path / "router"), "embedding": "stub"}}
    file = tmp_path / "routed.yaml"
    file.write_text(type(plain).model_validate(document).to_yaml())
    monkeypatch.setattr(router_retrain, "load_encoder", lambda *_: stub)
    monkeypatch.setattr(connection, "prepare_database", lambda new: shutil.copy(template_database, new))
    return file


def test_a_run_times_every_stage_and_leaves_the_registry_alone(deployment: Path, empty_home: Path) -> None:
    """Two trainings of the same bits; stages add up to the total; the bar is for more prompts than these."""
    place = deployment.parent
    data = written(place / "prompts.jsonl", records(200, seed=3))
    report = run_router_retrain(deployment, RetrainTrial(data, 600, 2, place / "cache"))
    stages = [row["stage"] for row in report.rows]
    assert stages == ["read and split", "model and embeddings", "fit", "calibration", "evaluation", "register", TOTAL]
    *parts, total = (row["seconds_min"] for row in report.rows)
    assert 0 < sum(parts) <= total * 1.0001
    assert sum(report.facts["prompts"].values()) == 600
    assert (report.facts["same_bits"], report.facts["passed"]) == (True, None)
    assert "the same bits every time" in report.notes[0]
    assert not list(empty_home.rglob("*.db"))
    assert report.save(place / "results")[2].read_bytes()[:4] == b"\x89PNG"


def test_a_slow_training_is_told_on(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are as many prompts as the bar is for."""
    monkeypatch.setattr(router_retrain, "_BAR_PROMPTS", 600)
    data = written(deployment.parent / "prompts.jsonl", records(200, seed=3))
    trial = RetrainTrial(data, 600, 1, deployment.parent / "cache")
    assert run_router_retrain(deployment, trial).facts["passed"] is True
    monkeypatch.setattr(router_retrain, "_BAR_SECONDS", 1e-6)
    slow = run_router_retrain(deployment, trial)
    assert slow.facts["passed"] is False
    assert "NOT under" in slow.notes[1]
