"""`bench topics` counts right, compares methods on the same prompts, and writes its results whole."""

import json

import pytest

from benchmarks.prompts import OUT_OF_SCOPE, OWN, in_blocks, load_prompts
from benchmarks.tally import Tally, break_even, predicted_speedup
from benchmarks.topics import METHODS, break_even_note, run_topics
from configs.errors import ConfigError
from decoding.costs import StepCosts
from decoding.request import SpeculationCounts


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
        assert [row["method"] for row in group] == list(METHODS)
        assert {row["prompts"] for row in group} == {12 if topic == "all" else 2}
        assert len({row["tokens"] for row in group}) == 1
        assert all(row["identical"] for row in group)
        assert group[0]["tokens_per_target_run"] == group[0]["speedup"] == group[0]["predicted_speedup"] == 1


def test_the_oracle_is_never_worse_than_any_choice_of_a_draft(report):
    """It picks with hindsight; sql's draft is the target itself, so all its proposals are right."""
    rows = {(row["topic"], row["method"]): row for row in report.rows}
    for topic, _ in rows:
        oracle = rows[topic, "oracle"]["tokens_per_target_run"]
        assert all(oracle >= rows[topic, method]["tokens_per_target_run"] for method in ("random", "pooled", "routed"))
    assert rows["all", "oracle"]["alpha"] == 1
    assert rows["all", "pooled"]["alpha"] < 1


def test_results_are_a_table_a_picture_and_a_document(report, tmp_path):
    """The table has the command on top; the document is what --json prints."""
    document, table, picture = report.save(tmp_path / "results")
    assert json.loads(document.read_text()) == report.document()
    assert table.read_text().splitlines()[0].strip() == report.command
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_alpha_is_acceptance_given_that_the_position_was_reached():
    """Ten chains of two: 8 first tokens accepted, then 6 second ones: 14 of 18 reached positions."""
    counts = SpeculationCounts(
        num_drafts=10,
        num_draft_tokens=20,
        num_accepted_tokens=14,
        num_rejected_drafts=4,
        num_accepted_tokens_per_pos=[8, 6],
    )
    row = Tally(counts).row()
    assert row["alpha"] == pytest.approx(14 / 18)
    assert row["mean_acceptance_length"] == pytest.approx(2.4)
    assert row["acceptance_by_position"] == [0.8, 0.6]
    assert Tally().row()["alpha"] is None


def test_counts_add_up_place_by_place():
    """Lists of different lengths too, in either order."""
    one = SpeculationCounts(num_drafts=1, num_accepted_tokens_per_pos=[1])
    two = SpeculationCounts(num_drafts=2, num_accepted_tokens_per_pos=[2, 1])
    for first, second in ((one, two), (two, one)):
        total = SpeculationCounts.total([first, second])
        assert (total.num_drafts, total.num_accepted_tokens_per_pos) == (3, [3, 1])


def test_the_cost_model_is_tokens_over_cost():
    """E / (w(k + 1) + c k) when every run speculates; plain runs cost 1, copied tokens no draft step."""
    costs = StepCosts({1: 1.0, 5: 1.3}, {1: 0.1, 8: 0.2})

    def predicted(tokens, runs, num_copied=0):
        counts = SpeculationCounts(
            num_generated_tokens=tokens,
            num_target_runs=runs,
            num_drafts=10,
            num_draft_tokens=40,
            num_copied_tokens=num_copied,
        )
        return predicted_speedup(counts, costs)

    assert predicted(34, 10) == pytest.approx(3.4 / 1.7)
    assert predicted(44, 20) == pytest.approx(44 / 27)
    assert predicted(34, 10, num_copied=40) == pytest.approx(34 / 13)
    assert predicted_speedup(SpeculationCounts(num_generated_tokens=7, num_target_runs=7), costs) == 1


def test_break_even_is_where_a_proposal_brings_what_it_costs():
    """By hand: one token pays from w(2) + c - 1 on; dearer lengths need more; some never pay."""
    costs = StepCosts({1: 1.0, 2: 1.1, 3: 1.5}, {1: 0.2})
    assert break_even(costs, 1) == pytest.approx(0.3, abs=1e-5)
    assert sum(break_even(costs, 2) ** power for power in range(3)) == pytest.approx(1.9, abs=1e-5)
    assert break_even(StepCosts({1: 1.0, 2: 1.9}, {1: 0.1}), 1) is None
    assert break_even_note({1: 0.3, 2: None}).startswith("Break-even alpha by proposed tokens: 1: 0.300, 2: none;")


def test_both_sides_of_the_break_even_are_reported(report):
    """The alpha of each method in its row, and what it must exceed below the table."""
    document = report.document()
    assert document["break_even"].keys() == {"1", "2", "4", "8"}
    assert any(note.startswith("Break-even alpha") for note in report.notes)


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


@pytest.mark.parametrize("repeats", [1, 2, 3, 4])
def test_every_block_has_every_topic(repeats):
    """Also where the number of blocks divides the number of topics; no prompt is in two blocks."""
    prompts = load_prompts(None, per_topic=4)
    blocks = in_blocks(prompts, repeats)
    assert len(blocks) == repeats
    assert sorted(number for block in blocks for number in block) == list(range(len(prompts)))
    assert all({prompts[number].topic for number in block} == {*OWN} - {OUT_OF_SCOPE} for block in blocks)


def test_more_blocks_than_prompts_is_an_error(config):
    """The message says which option to change."""
    with pytest.raises(ConfigError, match="cannot make 5 blocks"):
        run_topics(config, None, per_topic=2, tokens=4, repeats=5)
