"""`polydraft selfcheck URL` against real servers: one that is right, one that is not, and none."""

import json
from pathlib import Path

import pytest

import polydraft
from benchmarks.prompts import Prompt
from benchmarks.selfcheck_url import SAMPLED_DRAFTED, run_selfcheck_url, tasks_of
from registry.names import CHAMPION, Reference
from registry.section import RegistrySection
from registry.store import Registry
from serving.config import Deployment
from tests.e2e.processes import server
from tests.e2e.test_following import MODEL, register
from tests.e2e.test_lifecycle import changed

pytestmark = pytest.mark.e2e


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    lines = [{"topic": topic, "prompt": f"the {word}"} for topic in ("sql", "math") for word in ("one", "other")]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


def test_a_server_that_is_right_passes(url: str, prompts: Path) -> None:
    """Drafts were used, clients left, answers were sampled; nothing differed."""
    report = run_selfcheck_url(url, prompts, per_topic=2, tokens=40, concurrency=6)
    assert report.passed
    rows = {row["method"]: row for row in report.document()["rows"]}
    assert list(rows) == ["left early", "named draft", "no draft", "routed", SAMPLED_DRAFTED, "sampled, no draft"]
    assert rows["named draft"]["tokens_per_target_run"] > 1.2
    assert rows["no draft"]["tokens_per_target_run"] == 1
    assert 0 < rows["left early"]["cancelled"] <= rows["left early"]["requests"]
    assert {row["requests"] for row in rows.values()} == {2, 8}


def test_a_server_that_believes_every_draft_is_caught(
    deployment: Deployment, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Negative control: exit code 1, with position and gap; its plain answers are not blamed."""
    with server(deployment, tmp_path, module="tests.e2e.broken_server") as running:
        words = ["selfcheck", running.url, "--prompts", str(prompts), "--tokens", "24", "--json"]
        with pytest.raises(SystemExit) as exit_:
            polydraft.main(words)
    assert exit_.value.code == 1
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["no draft"]["identical"]
    assert not rows["named draft"]["identical"]
    assert all(each["top_two_gap"] >= 0 for each in rows["named draft"]["mismatches"])


def test_without_a_server_the_error_says_so(prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["selfcheck", "http://127.0.0.1:9", "--prompts", str(prompts)])
    assert exit_.value.code == 2
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_champions_move_meanwhile_and_are_put_back(
    deployment: Deployment, toys: Path, prompts: Path, tmp_path: Path
) -> None:
    """Two versions of one draft, of very different quality; the answers stay."""
    section = RegistrySection(uri=f"sqlite:///{tmp_path}/mlflow.db", poll_seconds=0.2)
    registry = Registry.open(section)
    register(registry, toys, "math")
    register(registry, toys, "sql")
    drafts = deployment.drafts.model_dump()
    drafts["topics"]["sql"] = {"model": f"registry://{MODEL}@{CHAMPION}"}
    followed = changed(deployment, registry=section.model_dump(), drafts=drafts)
    with server(followed, tmp_path / "server") as running:
        file = running.log.parent / "deployment.yaml"
        report = run_selfcheck_url(running.url, prompts, 2, 250, repeats=4, concurrency=3, swap=True, config=file)
    assert report.passed
    assert report.swaps
    assert SAMPLED_DRAFTED not in report.headings
    assert registry.get(Reference(MODEL, CHAMPION, None)).version == 2


def test_every_prompt_is_asked_in_every_way_and_shuffled() -> None:
    """The same tasks at every call, so that a mismatch can be found again."""
    prompts = [Prompt(f"prompt {number}", None) for number in range(8)]
    tasks = list(tasks_of(prompts, 16, ["general", "sql"], repeats=3))
    assert tasks == list(tasks_of(prompts, 16, ["general", "sql"], repeats=3))
    plain = [task.question for task in tasks if task.heading == "no draft"]
    assert len(plain) == 24
    assert len(set(plain)) == 8
    assert {task.question.draft for task in tasks} == {"none", "auto", "general", "sql"}
    assert all(1 <= (task.leaves_after or 1) < 16 for task in tasks)
    headings = [task.heading for task in tasks]
    assert headings != sorted(headings)
