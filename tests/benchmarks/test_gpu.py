"""The bench for GPUs: without one it says so; its own code runs on the CPU's device, small."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import benchmarks.gpu
import benchmarks.gpu_checks
import benchmarks.gpu_speed
import benchmarks.gpu_stack_checks
import benchmarks.gpu_stacks
from benchmarks.gpu import draw_gpu, run_gpu
from benchmarks.gpu_checks import check_answers, check_logits, check_waits
from benchmarks.gpu_shapes import SHAPES, RandomWeights, shape_config
from benchmarks.gpu_stack_checks import check_stacks
from configs.errors import ConfigError
from decoding.checkpoint import weight_shapes
from decoding.device.model import DeviceModel
from decoding.device.placement import CPU
from decoding.device.stack import DraftStack
from polydraft import app


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_ends_with_one_line() -> None:
    """Nothing is measured, nothing is made up."""
    with pytest.raises(ConfigError, match="needs a CUDA GPU") as caught:
        run_gpu("7b", "160m", [0.5], 8, 1)
    assert "\n" not in str(caught.value)
    assert CliRunner().invoke(app, ["bench", "gpu"]).exit_code != 0


def test_its_measurements_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU with a tiny shape: every part gives its rows, forced acceptance is what was asked for."""
    monkeypatch.setattr(benchmarks.gpu_speed, "_WARM_STEPS", 3)
    report = run_gpu("tiny", "tiny", [0.5, 0.8], 24, 1, ["pass", "plain", "forced"], CPU)
    assert [row for row in report.rows if row.get("is_good") is False] == []
    forced = [row for row in report.rows if row["section"] == "forced"]
    assert [(row["forced_alpha"], row["concurrency"]) for row in forced] == [(0.5, 1), (0.8, 1), (0.8, 8)]
    assert all(row["identical"] for row in forced)
    assert forced[0]["alpha"] < forced[1]["alpha"]
    assert forced[2]["alpha"] == pytest.approx(0.8, abs=0.1)
    shares = [row["value"] for row in report.rows if "share" in row["what"]]
    assert len(shares) == 2
    assert all(0 < share < 1.5 for share in shares)
    assert draw_gpu(report.rows).axes[1].lines


def test_its_checks_pass_where_they_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's model on the CPU against the CPU's own, on the starter."""
    monkeypatch.setattr(benchmarks.gpu_checks, "_SLOTS", 2)
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    rows = check_logits(CPU) + check_answers(CPU, 6) + check_waits(CPU)
    assert all(row["is_good"] for row in rows)
    assert len(rows) == 6
    assert modes == ["error", "default", "error", "default"] * 4


def test_stacked_drafts_are_held_against_single_ones() -> None:
    """The starter's own drafts, whose heads keep different tokens, stacked on the CPU's device."""
    rows = check_stacks(CPU, 6)
    assert len(rows) == 6
    assert all(row["is_good"] for row in rows)


def test_a_stack_that_mixes_drafts_up_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: two drafts sit in each other's places; answers stay the target's, drafted tokens do not."""

    def mixed(drafts: Sequence[DeviceModel], *rest: Any) -> DraftStack:
        return stack_of([drafts[1], drafts[0], *drafts[2:]], *rest)

    stack_of = benchmarks.gpu_stack_checks._stack_of
    monkeypatch.setattr(benchmarks.gpu_stack_checks, "_stack_of", mixed)
    found = {row["what"]: row["is_good"] for row in check_stacks(CPU, 4)}
    assert not found["float32: drafted tokens equal to the single draft's"]
    assert not found["float32: greatest difference of a law"]
    assert found["float32: answers with stacked drafts equal to those without"]


def test_six_stacked_drafts_are_timed_beside_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops and steps, three ways each, turn and turn about; how fast is a GPU's affair."""
    monkeypatch.setattr(benchmarks.gpu_stacks, "_WARM_STEPS", 2)
    monkeypatch.setattr(benchmarks.gpu_stacks, "_STEPS", 3)
    report = run_gpu("tiny", "tiny", [0.5], 4, 2, ["stacks"], CPU)
    ways = ["one draft", "one after the other", "stacked"]
    assert [row["way"] for row in report.rows] == ways * 2
    assert [row["drafts"] for row in report.rows] == [1, 6, 6] * 2
    assert [row["over_single_draft"] for row in report.rows][::3] == [1, 1]
    assert all(row["value"] > 0 for row in report.rows)
    assert all(row["tokens"] >= 8 * 3 for row in report.rows[3:])
    draw_gpu(report.rows)


def test_a_part_that_fails_becomes_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the rest goes on; a missing kernel must not cost the other findings."""

    def broken(*_: object) -> list[object]:
        raise NotImplementedError("no such kernel\nand more")

    monkeypatch.setattr(benchmarks.gpu, "pass_rows", broken)
    report = run_gpu("tiny", "tiny", [0.5], 4, 1, ["pass", "plain"], CPU)
    assert [row["is_good"] for row in report.rows if "is_good" in row] == [False, False]
    assert "no such kernel" in report.rows[0]["what"]
    assert any(row["section"] == "plain" for row in report.rows)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_whole(name: str) -> None:
    """Names, heads and sizes fit; the 7B shape has as many weights as it is called after."""
    config = shape_config(name)
    assert config.head_dim * config.num_heads == config.hidden_size
    size = sum(torch.Size(shape).numel() for shape in weight_shapes(config).values())
    expected = {"tiny": size, "160m": 0.16e9, "1.1b": 1.1e9, "7b": 6.7e9, "33b": 32.5e9}[name]
    assert size == pytest.approx(expected, rel=0.05)


def test_random_weights_come_when_they_are_asked_for() -> None:
    """Each is new memory, matrices are random, norms are ones."""
    weights = RandomWeights(shape_config("tiny"), replace(CPU, dtype=torch.bfloat16))
    assert weights["model.norm.weight"].eq(1).all()
    assert weights["lm_head.weight"].dtype == torch.bfloat16
    assert not torch.equal(weights["lm_head.weight"], weights["lm_head.weight"])
    assert "lm_head.bias" not in weights
