"""The shape with the highest predicted throughput wins, which is not always the one that predicts best."""

import json

import pytest
from transformers import LlamaForCausalLM

from configs.errors import ConfigError
from tests.serving.toy_folder import write_toy
from training.design import Brief, Shape, best_length, design, draw_frontier


def test_the_best_length_is_the_best_of_all_lengths():
    """By hand: alpha .5, runs that cost nothing extra; a dearer step makes shorter drafts, a dearer width, too."""
    halves = [0.5**place for place in range(1, 9)]
    assert best_length(halves, 0.0, lambda rows: 1.0)[0] == 8
    k, tokens, speedup = best_length(halves, 0.1, lambda rows: 1.0)
    assert (k, tokens) == (2, 1.75)
    assert speedup == pytest.approx(1.75 / 1.2)
    assert best_length(halves, 0.1, lambda rows: 1 + 0.3 * (rows - 1))[0] == 1


def test_a_better_draft_loses_to_a_cheaper_one():
    """Ranking by throughput differs from ranking by acceptance (Decoding Speculative Decoding)."""
    good = best_length([0.7**place for place in range(1, 9)], 0.30, lambda rows: 1.0)
    cheap = best_length([0.6**place for place in range(1, 9)], 0.05, lambda rows: 1.0)
    assert cheap[2] > good[2]


@pytest.mark.parametrize("text", ["192", "1x100", "0x64", "1x", "1x0", "ax64"])
def test_what_is_no_shape_is_refused(text):
    """With an example of one that is."""
    with pytest.raises(ConfigError, match="is no shape"):
        Shape.parse(text)


@pytest.mark.slow
def test_shapes_are_trained_measured_and_compared_on_one_target(tmp_path):
    """A row a shape, sizes as transformers counts them; a second call trains nothing and a picture can be drawn."""
    target = write_toy(tmp_path / "target")
    records = [{"prompt": f"say {number}", "response": "the answer."} for number in range(40)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, records)))
    shapes = [Shape.parse("2x64"), Shape.parse("1x64")]
    brief = Brief(target, tmp_path / "data.jsonl", "sql", tmp_path / "work", shapes, steps=4, limit=10, answer_tokens=8)
    rows = design(brief)
    assert [row["shape"] for row in rows] == ["1x64", "2x64"]
    for row, shape in zip(rows, sorted(shapes), strict=True):
        folder = tmp_path / "work" / str(shape) / "draft"
        assert row["parameters"] == LlamaForCausalLM.from_pretrained(folder).num_parameters()
        assert 0 <= row["alpha"] <= 1
        assert row["c"] > 0
        assert row["speedup"] > 0
    figures = [row["acceptance_by_position"] for row in rows]
    assert [row["acceptance_by_position"] for row in design(brief)] == figures
    assert draw_frontier(rows).axes
