"""`selfcheck` proves identity with transformers, and can fail."""

import random

import pytest

import decoding.model
from benchmarks.company import Company
from benchmarks.selfcheck import run_selfcheck
from benchmarks.workbench import open_workbench
from configs.errors import ConfigError
from decoding.model import PlainGreedy
from decoding.native_model import NativeModel
from decoding.verification import VerificationResult


def test_every_way_of_drafting_equals_transformers(config, prompts):
    """No draft, right, wrong, lookup and all mixed: no mismatch, and the perfect draft saves runs."""
    report = run_selfcheck(config, prompts, per_topic=2, tokens=24, churn=1)
    assert report.passed
    assert report.tokens == 6 * 4 * 24
    rows = {row["method"]: row for row in report.report().rows}
    assert list(rows) == ["no draft", "right draft", "wrong draft", "prompt lookup", "all mixed", "churn"]
    assert all(row["tokens"] == 4 * 24 for row in rows.values())
    assert rows["no draft"]["tokens_per_target_run"] == 1
    assert rows["right draft"]["tokens_per_target_run"] > 1.3
    assert rows["all mixed"]["batch"] == 8


def test_churn_shakes_the_loop_as_it_says(config, prompts, tmp_path):
    """Requests cancelled and begun again, drafters and weights changed in mid-answer, batches of many sizes."""
    found = run_selfcheck(config, prompts, per_topic=2, tokens=24, churn=40)
    assert found.passed
    report = found.report()
    row = report.rows[-1]
    assert row["method"] == "churn"
    assert row["tokens"] == 40 * 4 * 24
    assert min(row[what] for what in ("cancelled", "reassigned", "replaced")) > 0
    assert set(row["batches"]) >= {1, 2, 3}
    assert set(row["drafters"]) == {"chain", "tree", "merged", "lookup", "none"}
    _, table, picture = report.save(tmp_path)
    assert f"{row['replaced']} drafts in use given other weights" in table.read_text()
    assert picture.stat().st_size > 0


def test_weights_of_a_draft_change_wherever_they_serve(config):
    """Its chain, its tree and what it is merged into; the others stay who they were."""
    bench = open_workbench(config, with_router=False)
    company, draws = Company(bench.pool), random.Random(0)
    before, weights = dict(company.drafters), bench.pool["sql"].model
    company.replace("sql", draws)
    changed = {name for name, drafter in company.drafters.items() if drafter is not before[name]}
    assert changed == {name for name in company.drafters if "sql" in name} >= {"sql", "tree sql"}
    assert company.drafters["sql"] is bench.pool["sql"]
    assert company.drafters["tree sql"].model is bench.pool["sql"].model is not weights
    assert bench.pool.specs["sql"].folder.name != "sql"
    assert {name.removeprefix("tree ") for name in company.drafters if name.startswith("tree ")} == {*bench.plan.drafts}


def test_a_broken_rule_is_reported_with_position_and_gap(config, prompts, monkeypatch):
    """Negative control: accepting every proposal makes the check fail."""

    def gullible(proposal, best):
        return VerificationResult(list(range(len(proposal))), best[len(proposal)])

    monkeypatch.setattr(decoding.model, "verify_greedy", gullible)
    monkeypatch.setattr(NativeModel, "verify_greedy", PlainGreedy.verify_greedy)
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
