"""The shipped starter does the main job: fresh registry, real server, OpenAI's client, README's code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from benchmarks.demo import QUESTIONS
from benchmarks.prompts import OUT_OF_SCOPE
from serving.client import running_server
from serving.config import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "topic",
    "draft",
    "draft_version",
    "confidence",
    "reason",
    "tokens",
    "mean_acceptance_length",
    "tokens_per_target_run",
    "speedup",
    "identical",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which nothing has been imported yet."""
    return tmp_path_factory.mktemp("home")


def polydraft(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "polydraft.py"), *words]
    environment = {**os.environ, "POLYDRAFT_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """The starter's server on the port that the README names, if it is free."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYDRAFT_HOME", str(home))
        with running_server(Deployment()) as base_url:
            yield base_url


def test_the_demo_runs_on_a_fresh_registry_and_every_answer_is_identical(home: Path) -> None:
    """One JSON list, one row a question, all keys, no difference between plain and routed text."""
    done = polydraft(home, "demo", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["topic"] for row in rows] == [None if topic == OUT_OF_SCOPE else topic for topic in QUESTIONS]
    assert all(set(row) == KEYS and row["identical"] for row in rows)


def test_the_registry_lists_seven_drafts_and_a_router(home: Path) -> None:
    """`polydraft registry list` shows what was imported, each as champion."""
    done = polydraft(home, "registry", "list", "--json")
    rows = {row["draft"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {*QUESTIONS, "general", "router"} - {OUT_OF_SCOPE}
    assert all(row["champion"] == "v1" for row in rows.values())
    shown = json.loads(polydraft(home, "registry", "show", "sql", "--json").stdout)
    assert shown["label"] == "sql@v1"
    assert shown["run"]


def test_queries_are_routed_one_a_line(home: Path, tmp_path: Path) -> None:
    """`polydraft route --input` gives each question its topic's draft, and what is out of scope the general one."""
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in QUESTIONS.values()))
    done = polydraft(home, "route", "--input", str(file))
    decisions = [json.loads(line) for line in done.stdout.splitlines()]
    expected = ["general@v1" if topic == OUT_OF_SCOPE else f"{topic}@v1" for topic in QUESTIONS]
    assert [decision["draft"] for decision in decisions] == expected
    assert decisions[-1]["reason"] == "out_of_scope"


def test_the_reply_says_which_draft_spoke_and_what_it_was_worth(url: str) -> None:
    """The topic's draft, its version, and acceptance figures that fit the counts."""
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    reply = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": QUESTIONS["medical"]}],
        temperature=0,
        max_tokens=200,
        extra_body={"draft": "medical", "num_draft_tokens": 4},
    )
    figures = (reply.model_extra or {})["polydraft"]
    assert (figures["draft"], figures["topic"], figures["reason"]) == ("medical@v1", "medical", "asked")
    assert figures["mean_acceptance_length"] == pytest.approx(
        1 + figures["num_accepted_tokens"] / figures["num_spec_steps"], abs=1e-3
    )
    assert reply.usage is not None
    assert figures["tokens_per_target_run"] == pytest.approx(
        reply.usage.completion_tokens / figures["num_target_runs"], abs=1e-3
    )


def test_the_readmes_code_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python block of the README, against a real server."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    code = block.group(1)
    assert "http://127.0.0.1:8000" in code
    exec(compile(code.replace("http://127.0.0.1:8000", url), "README.md", "exec"), {})
    assert "'draft': " in capsys.readouterr().out
