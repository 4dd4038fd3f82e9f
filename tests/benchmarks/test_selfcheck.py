"""`selfcheck` proves identity with transformers, and can fail."""

import pytest

import decoding.step_loop
from benchmarks.selfcheck import run_selfcheck
from configs.errors import ConfigError
from decoding.verification import VerificationResult


def test_every_way_of_drafting_equals_transformers(config, prompts):
    """No draft, right, wrong, lookup and all mixed: no mismatch, and the perfect draft saves runs."""
    report = run_selfcheck(config, prompts, per_topic=2, tokens=24)
    assert report.passed
    rows = {row["method"]: row for row in report.document()["rows"]}
    assert list(rows) == ["no draft", "right draft", "wrong draft", "prompt lookup", "all mixed", "churn"]
    assert all(row["tokens"] == 4 * 24 for row in rows.values())
    assert rows["no draft"]["tokens_per_target_run"] == 1
    assert rows["right draft"]["tokens_per_target_run"] > 1.3
    assert rows["all mixed"]["batch"] == 8


def test_churn_shakes_the_loop_as_it_says(config, prompts):
    """Several rounds: requests are cancelled and begun again, drafts swapped, batches of many sizes; texts stay."""
    report = run_selfcheck(config, prompts, per_topic=2, tokens=24, churn=40)
    assert report.passed
    row = report.document()["rows"][-1]
    assert row["method"] == "churn"
    assert row["tokens"] == 40 * 4 * 24
    assert row["cancelled"] > 0
    assert row["swapped"] > 0
    assert len(row["batches"]) > 1


def test_a_broken_rule_is_reported_with_position_and_gap(config, prompts, monkeypatch):
    """Negative control: accepting every proposal makes the check fail."""

    def gullible(proposal, best):
        return VerificationResult(list(range(len(proposal))), best[len(proposal)])

    monkeypatch.setattr(decoding.step_loop, "verify_greedy", gullible)
    report = run_selfcheck(config, prompts, per_topic=2, tokens=24)
    assert not report.passed
    failed = {mode.mode for mode in report.modes if mode.mismatches}
    assert "wrong draft" in failed
    assert "no draft" not in failed
    assert all(mismatch.gap >= 0 for mode in report.modes for mismatch in mode.mismatches)


def test_without_prompts_the_error_says_what_to_pass(config, tmp_path):
    """An empty file is refused."""
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match="no prompts"):
        run_selfcheck(config, tmp_path / "none.jsonl", per_topic=2, tokens=8)
