"""`polydraft router retrain`, `evaluate`, `compare` and `rollback`, and `polydraft route --explain`."""

import json
from pathlib import Path
from typing import Any

import pytest

import polydraft
from router import encoder
from serving import routing
from serving.config import Deployment, load_deployment
from tests.router.stub_encoder import StubEncoder
from tests.training.routing.toys import poisoned, records
from training.routing import versions
from training.routing.prompts import Labelled


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubEncoder(dim=96)
    for room in (encoder, routing, versions):
        monkeypatch.setattr(room, "load_encoder", lambda *_: stub)


@pytest.fixture
def config(home: Path, tmp_path: Path) -> Path:
    """A deployment whose registry is empty."""
    router = {"model": "registry://toy-router@champion"}
    document = {
        "name": "toy",
        "target": {"model": str(tmp_path)},
        "drafts": {"general": None, "topics": {}},
        "router": router,
    }
    file = tmp_path / "toy.yaml"
    file.write_text(Deployment.model_validate(document).to_yaml())
    return file


def write(file: Path, given: list[Labelled]) -> Path:
    file.write_text("\n".join(json.dumps({"prompt": each.text, "topic": each.group}) for each in given))
    return file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts.jsonl", records(300, seed=1))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["router", *map(str, words)])
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, *words, "--json")
    return code, json.loads(out)


def test_the_life_of_a_router(config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, promoted, not replaced by itself nor by a poisoned one, measured, compared, and taken back."""
    options = "--config", config, "--data"
    code, first = answer(capsys, "retrain", *options, data, "--promote-if-better")
    assert (code, first["version"], first["promoted"]) == (0, "router@v1", True)
    assert first["verdict"]["outcome"] == "better"
    assert sum(first["prompts"].values()) == 1200
    again, out, err = run(capsys, "retrain", *options, data, "--promote")
    assert (again, "router@v1 is this very router; nothing is registered" in err) == (1, True)
    assert out.splitlines()[0].split("\t") == ["", "router@v1", "new"]
    poison = write(tmp_path / "poison.jsonl", poisoned(records(300, seed=1), 0.4))
    code, refused = answer(capsys, "retrain", *options, poison, "--promote-if-better")
    assert (code, refused["version"], refused["promoted"]) == (1, "router@v2", False)
    assert refused["verdict"]["outcome"] == "doubtful"
    code, own = answer(capsys, "evaluate", "--config", config)
    assert (code, own["version"], own["prompts"]) == (0, "router@v1", first["prompts"]["held_out"])
    assert own["figures"]["topic/right"] == pytest.approx(first["figures"]["new"]["topic/right"], abs=0.01)
    code, compared = answer(capsys, "compare", "v2", "v1", *options, data)
    assert (code, compared["verdict"]["outcome"]) == (0, "better")
    assert answer(capsys, "compare", "router@v1", "router@v2", "--config", config)[0] == 1
    more = write(tmp_path / "more.jsonl", records(500, seed=1))
    assert answer(capsys, "retrain", *options, more, "--promote")[1]["version"] == "router@v3"
    assert json.loads(run(capsys, "rollback", "--config", config, "--json")[1]) == {
        "rolled_back": "router@v3",
        "champion": "router@v1",
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("retrain", "--data", "nowhere.jsonl"), "no file nowhere.jsonl"),
        (("retrain", "--kind", "oracle"), "--kind oracle is unknown"),
        (("retrain",), "no folder"),  # of the deployment's traces
        (("evaluate",), "the registry has no model toy-router"),
        (("compare", "sql@v1", "v2"), "sql@v1 is no version of the router"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    config: Path, words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    code, _, err = run(capsys, *words, "--config", config)
    assert code == 2
    assert says in err.splitlines()[0]


def test_a_route_is_explained(config: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Probabilities, distances, thresholds, and the rule that decided."""
    answer(capsys, "retrain", "--config", config, "--data", data, "--promote-if-better")
    router = routing.open_router(load_deployment(config))
    header, lines = router.explanation(records(300, seed=1)[0].text)
    found = {line[0]: line[1:] for line in lines}
    assert header[2].startswith("topic: in scope, and ")
    assert next(iter(found)) == "topic sql"
    assert {"in scope", "nearest topic", "confidence"} <= found.keys()
    assert router.explanation("weather song alarm calendar")[0][2].startswith("out of scope: ")


def test_reports_of_routers_have_pictures(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dated table with its command on top, figures, bars and a picture; of one router, and of two."""
    options = "--config", config, "--data"
    answer(capsys, "retrain", *options, data, "--promote-if-better")
    more = write(tmp_path / "more.jsonl", records(500, seed=1))
    answer(capsys, "retrain", *options, more)
    folder = tmp_path / "results"
    _, _, err = run(capsys, "evaluate", *options, data, "--report", folder)
    assert "router@v1: AUROC of scope 0.9" in err or "router@v1: AUROC of scope 1.0" in err
    run(capsys, "compare", "v1", "v2", *options, data, "--report", folder)
    for name, count in (("evaluate", 1), ("compare", 2)):
        (document,) = folder.glob(f"*-router-{name}.json")
        rows = json.loads(document.read_text())["rows"]
        assert [row["router"] for row in rows] == ["router@v1", "router@v2"][:count]
        assert all(sum(size for _, _, size in row["reliability"]) == row["topic_prompts"] for row in rows)
        assert all(sum(map(sum, row["confusion"][2])) >= row["topic_prompts"] for row in rows)
        text = document.with_suffix(".md").read_text()
        assert text.startswith(f"    polydraft router {name} ")
        assert "a perfectly calibrated router would show" in text
        assert document.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
