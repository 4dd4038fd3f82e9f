"""`bench router-latency`: texts of the lengths it says, and rows that add up."""

from pathlib import Path

import pytest

from benchmarks.prompts import Prompt
from benchmarks.router_latency import LENGTHS, run_router_latency, texts_of
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
