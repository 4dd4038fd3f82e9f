"""`bench router-latency`: texts of the lengths it says, and rows that add up."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.prompts import Prompt
from benchmarks.router_latency import LENGTHS, paired_ratio, run_router_latency, texts_of
from configs.errors import ConfigError
from serving.config import load_deployment

STARTER = Path(__file__).parents[2] / "starter" / "router"


def test_texts_fill_their_length_and_never_exceed_it() -> None:
    """Two tokens are the model's own; words are whole, and no two texts are the same."""
    prompts = [Prompt(f"word{number} a long_word_{number}", None) for number in range(50)]

    def count(word: str) -> int:
        return 1 + len(word) // 8

    for length in (16, 64):
        texts = texts_of(prompts, length, 10, count)
        sizes = [sum(map(count, text.split())) + 2 for text in texts]
        assert len(set(texts)) == 10
        assert all(length - 3 <= size <= length for size in sizes)


def test_what_prompts_differ_by_cancels_in_pairs() -> None:
    """A cost of 3 % is found among prompts that differ by factors, from few pairs; without a cost there is none."""
    random = np.random.default_rng(7)
    off = np.tile(random.lognormal(sigma=1.0, size=60), 2) * random.lognormal(sigma=0.02, size=120)
    same, dearer = (off * cost * random.lognormal(sigma=0.02, size=120) for cost in (1.0, 1.03))
    ratio, low, high = paired_ratio(list(off), list(dearer), 60)
    assert 1.0 < low < 1.03 < high < 1.06
    assert low < ratio < high
    _, low, high = paired_ratio(list(off), list(same), 60)
    assert 0.98 < low < 1.0 < high < 1.02


def test_prompts_asked_more_often_weigh_no_more() -> None:
    """And fewer requests than prompts are prompts enough."""
    assert paired_ratio([1.0] * 4, [1.0, 3.0, 5.0, 1.0], 3)[0] == 3.0  # of 1, 3 and 5; the median of pairs is 2
    assert paired_ratio([2.0, 2.0], [6.0, 2.0], 9)[0] == 2.0


def test_a_deployment_without_a_router_has_nothing_to_measure(config: Path) -> None:
    with pytest.raises(ConfigError, match="no router"):
        run_router_latency(config, None, 1, 0, 4)


@pytest.mark.skipif(not STARTER.is_dir(), reason="starter/router is not there")
def test_decisions_are_timed_whole_and_in_part(config: Path, tmp_path: Path) -> None:
    """A row a length, one for the classifier, which is a part of each; a picture and the command that repeats it."""
    deployment = load_deployment(config)
    document = {**deployment.model_dump(mode="json"), "router": {"model": str(STARTER)}}
    file = tmp_path / "routed.yaml"
    file.write_text(type(deployment).model_validate(document).to_yaml())
    report = run_router_latency(file, None, 3, 0, 4)
    classifier, *routes = report.rows
    assert (classifier["what"], classifier["count"]) == ("classifier", 3 * len(LENGTHS))
    assert [row["prompt_tokens"] for row in routes] == list(LENGTHS)
    assert all(classifier["p50_ms"] < row["p50_ms"] <= row["p99_ms"] for row in routes)
    assert report.command.startswith("polydraft bench router-latency")
    assert report.save(tmp_path)[2].read_bytes()[:4] == b"\x89PNG"
