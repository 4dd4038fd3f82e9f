"""`bench step` times whole batches by part, and compares one draft with many at equal acceptance."""

import pytest

from benchmarks.step import METHODS, run_step
from configs.errors import ConfigError


@pytest.fixture(scope="module")
def report(config):
    return run_step(config, None, [1, 4], num_draft_tokens=3, alpha=0.7, steps=6, repeats=2)


def test_a_row_for_each_batch_and_method_with_its_parts(report):
    """The parts add up to the step, about, as each is a median of its own."""
    assert [(row["concurrency"], row["method"]) for row in report.rows] == [(b, m) for b in (1, 4) for m in METHODS]
    for row in report.rows:
        assert row["identical"]
        assert 0 < row["other_share"] < 1
        assert all(row[f"{part}_ms"] >= 0 for part in ("target", "draft", "other"))
        assert row["prompts"] == 2 * row["concurrency"]


def test_one_draft_and_mixed_drafts_emit_the_same_tokens_in_the_same_steps(report):
    """Equal counts, so that their times differ by nothing but the number of drafts."""
    rows = {(row["concurrency"], row["method"]): row for row in report.rows}
    for batch in (1, 4):
        single, mixed = rows[batch, "single"], rows[batch, "mixed"]
        for key in ("tokens", "alpha", "tokens_per_target_run", "acceptance_by_position"):
            assert single[key] == mixed[key]
        assert single["tokens"] > 6 * batch * 2
    assert (rows[4, "single"]["drafts"], rows[4, "mixed"]["drafts"]) == (1, 2)
    assert rows[4, "plain"]["tokens"] == 6 * 4 * 2


def test_results_are_saved_with_a_picture(report, tmp_path):
    """The command is on top."""
    _, table, picture = report.save(tmp_path)
    assert table.read_text().splitlines()[0].strip() == report.command
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": [9]}, "8 slots, not 9"),
        ({"num_draft_tokens": 0}, "not 1 to 12"),
        ({"steps": 400}, "lower --steps"),
        ({"repeats": 100}, "cannot fill 100 rounds"),
    ],
)
def test_what_cannot_be_measured_is_refused(config, change, message):
    """The message names the option or the key."""
    options = {"batches": [4], "num_draft_tokens": 3, "alpha": 0.7, "steps": 4, "repeats": 1}
    with pytest.raises(ConfigError, match=message):
        run_step(config, None, **{**options, **change})
