"""`bench topics` counts right, compares methods on the same prompts, and writes its results whole."""

import json

import pytest

from benchmarks.prompts import OUT_OF_SCOPE, OWN, load_prompts
from benchmarks.topics import Cell, run_topics
from configs.errors import ConfigError
from decoding.costs import StepCosts


@pytest.fixture(scope="module")
def report(config):
    return run_topics(config, None, per_topic=2, tokens=16, repeats=2)


def test_every_method_decodes_every_prompt_to_the_same_answer(report):
    """Rows come by topic and method, all with the same tokens, all identical to plain."""
    rows = report.document()["rows"]
    by_topic = {}
    for row in rows:
        by_topic.setdefault(row["topic"], []).append(row)
    assert set(by_topic) == {*OWN, "all"} - {OUT_OF_SCOPE}
    for topic, group in by_topic.items():
        assert [row["method"] for row in group] == ["plain", "lookup", "pooled", "routed"]
        assert {row["prompts"] for row in group} == {12 if topic == "all" else 2}
        assert len({row["tokens"] for row in group}) == 1
        assert all(row["identical"] for row in group)
        assert group[0]["tokens_per_target_run"] == group[0]["speedup"] == group[0]["predicted_speedup"] == 1


def test_results_are_a_table_a_picture_and_a_document(report, tmp_path):
    """The table has the command on top; the document is what --json prints."""
    document, table, picture = report.save(tmp_path / "results")
    assert json.loads(document.read_text()) == report.document()
    assert table.read_text().splitlines()[0].strip() == report.command
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_alpha_is_acceptance_given_that_the_position_was_reached():
    """Ten chains of two: 8 first tokens accepted, then 6 second ones: 14 of 18 reached positions."""
    cell = Cell(drafts=10, draft_tokens=20, accepted=14, rejected=4, accepted_per_pos=[8, 6])
    assert cell.alpha == pytest.approx(14 / 18)
    assert cell.mean_acceptance_length == pytest.approx(2.4)
    assert Cell().alpha is None


def test_the_cost_model_is_tokens_over_cost():
    """E / (w(k + 1) + c k) when every run speculates; plain runs cost 1."""
    costs = StepCosts({1: 1.0, 5: 1.3}, {1: 0.1, 8: 0.2})
    cell = Cell(tokens=34, target_runs=10, drafts=10, draft_tokens=40)
    assert cell.predicted_speedup(costs, 0.1) == pytest.approx(3.4 / 1.7)
    cell = Cell(tokens=44, target_runs=20, drafts=10, draft_tokens=40)
    assert cell.predicted_speedup(costs, 0.1) == pytest.approx(44 / 27)
    assert Cell(tokens=7, target_runs=7).predicted_speedup(costs, 0.1) == 1


def test_prompts_come_topic_in_turn_from_the_validation_split(prompts):
    """A file's training records are left out; topics alternate, so that batches mix them."""
    loaded = load_prompts(prompts, per_topic=5)
    assert [(prompt.topic, prompt.text) for prompt in loaded] == [
        ("sql", "sql 1"),
        ("math", "math 1"),
        ("sql", "sql 2"),
        ("math", "math 2"),
    ]
    assert [prompt.topic for prompt in load_prompts(prompts.parent, per_topic=1)] == ["sql", "math"]


def test_more_blocks_than_prompts_is_an_error(config):
    """The message says which option to change."""
    with pytest.raises(ConfigError, match="cannot make 5 blocks"):
        run_topics(config, None, per_topic=2, tokens=4, repeats=5)
