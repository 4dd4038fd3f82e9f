"""`polydraft replay` scores drafts on a trace log as they would have decoded it, and refuses what does not fit."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.replay import GivenCosts, run_replay
from configs.errors import ConfigError, IncompatibleDraft
from decoding.checkpoint import fingerprint
from decoding.load import load_draft, load_model
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from decoding.trace_log import TraceLog
from decoding.trace_recorder import TraceRecorder
from drafts.model_drafter import ModelDrafter
from polydraft import main

STARTER = Path(__file__).parents[2] / "starter"
SQL, CHAT = (str(STARTER / "drafts" / topic) for topic in ("sql", "chat"))
GIVEN = GivenCosts(0.1, [1.0, 1.1, 1.2])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A log of greedy answers under sql's draft with three tokens a proposal, one of another target, and the counts."""
    folder = tmp_path_factory.mktemp("traces")
    target = load_model(STARTER / "target", 4, 256)
    log = TraceLog(folder)
    counts = {}
    for wanted, topics in ((fingerprint(STARTER / "target"), ("sql", "chat")), ("another", ("sql",))):
        drafters = {"sql": ModelDrafter(load_draft(STARTER / "drafts/sql", 4, 256))}
        loop = StepLoop(target, drafters, 3, recorder=TraceRecorder(wanted, log.append, label=lambda _: "sql@v1"))
        requests = [
            Request(
                f"{topic}{n}",
                [3, 40 + 17 * n, 800 + n, 4],
                SamplingParams(max_tokens=24),
                SeededRandomness(n),
                drafter="sql",
                is_traced=True,
                topic=topic,
            )
            for topic in topics
            for n in range(3)
        ]
        loop.run(requests)
        for topic in topics:
            mine = [request.counts for request in requests if request.topic == topic]
            counts.setdefault(topic, (sum(c.num_generated_tokens for c in mine), sum(c.num_target_runs for c in mine)))
    log.close()
    return folder, counts


def test_a_replayed_log_says_what_was_decoded(recorded):
    """Under the draft that was there and its length, tokens a target run are the live ones, topic by topic."""
    folder, counts = recorded
    rows = run_replay(None, folder, [SQL, CHAT], given=GIVEN).rows
    assert [(row["topic"], row["draft"]) for row in rows] == [
        (topic, draft) for topic in ("chat", "sql", "all") for draft in ("sql", "chat")
    ]
    for row in rows:
        if row["draft"] == "sql" and row["topic"] != "all":
            tokens, runs = counts[row["topic"]]
            assert row["tokens_per_target_run"][2] == tokens / runs
        assert row["alpha_low"] <= row["alpha"] <= row["alpha_high"]
        assert row["requests"] == (6 if row["topic"] == "all" else 3)
        assert len(row["tokens_per_target_run"]) == 8
        assert row["predicted_speedup"] == pytest.approx(1 / row["cost_per_token"])


def test_given_costs_decide_the_best_length(recorded):
    """Free drafts propose as much as they can; dear ones one token."""
    folder, _ = recorded
    free = run_replay(None, folder, [SQL], ["sql"], GivenCosts(0.0, [1.0])).rows[0]
    dear = run_replay(None, folder, [SQL], ["sql"], GivenCosts(2.0, [1.0])).rows[0]
    assert free["predicted_speedup"] == pytest.approx(max(free["tokens_per_target_run"]))
    assert dear["best_num_draft_tokens"] == 1


def test_the_command_prints_one_document(recorded, capsys):
    """With the command that repeats it, and every figure of the table."""
    with pytest.raises(SystemExit) as done:
        main(["replay", "--traces", str(recorded[0]), "--draft", SQL, "--c", "0.1", "--w", "1,1.1", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert not done.value.code
    assert document["command"].startswith("polydraft replay --traces ")
    assert document["rows"][0]["c"] == 0.1


def test_what_does_not_fit_is_refused(recorded, tmp_path):
    """A draft with another tokenizer, no traces, and none about a topic."""
    folder, _ = recorded
    other = shutil.copytree(SQL, tmp_path / "other")
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    document = json.loads(text)
    document["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(IncompatibleDraft, match="another tokenizer"):
        run_replay(None, folder, [str(other)], given=GIVEN)
    with pytest.raises(ConfigError, match="no folder"):
        run_replay(None, tmp_path / "nowhere", [SQL], given=GIVEN)
    with pytest.raises(ConfigError, match="no traces of this deployment's target about math"):
        run_replay(None, folder, [SQL], ["math"], GIVEN)


@pytest.mark.parametrize("wrong", ["", "2,3", "1,0.5", "1,x"])
def test_costs_that_are_none_are_refused(wrong, capsys):
    """They start at 1 and never fall."""
    with pytest.raises(SystemExit) as done:
        main(["replay", "--draft", "sql", "--w", wrong])
    assert done.value.code == 2
    assert "starts at 1 and never falls" in capsys.readouterr().err
