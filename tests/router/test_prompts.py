"""Prompts made ready for training."""

import pytest

from configs.errors import CorpusError
from router.prompts import FOREIGN, as_written_text, prepare_prompts, without_stop


def some(word: str, count: int = 20) -> list[str]:
    return [f"{word} {number}" for number in range(count)]


def test_splits_are_disjoint_and_hold_everything_once() -> None:
    """No prompt is in both splits or twice in one, and none is lost but duplicates and ambiguous ones."""
    prompts = prepare_prompts(
        {"sql": [*some("rows"), "Rows  3", "shared"], "math": [*some("apples"), "SHARED"]}, some("songs"), 0, 100
    )
    for topic, word in (("sql", "rows"), ("math", "apples"), (FOREIGN, "songs")):
        assert not set(prompts.train[topic]) & set(prompts.calibration[topic])
        assert sorted(prompts.train[topic] + prompts.calibration[topic]) == sorted(some(word))
    assert (prompts.num_duplicates, prompts.num_ambiguous) == (1, 2)


def test_the_draw_depends_on_the_seed_only() -> None:
    """The order of the files does not matter; the seed does."""

    def draw(texts: list[str], seed: int) -> list[str]:
        return prepare_prompts({"a": texts, "b": some("b")}, some("f"), seed, 10).train["a"]

    assert draw(some("a"), 0) == draw(some("a")[::-1], 0)
    assert draw(some("a"), 0) != draw(some("a"), 1)


def test_at_most_so_many_prompts_a_topic() -> None:
    """The cap holds for every topic, and doubled for the foreign prompts."""
    prompts = prepare_prompts({"a": some("a", 50), "b": some("b", 50)}, some("f", 50), 0, 10)
    sizes = {topic: len(prompts.train[topic]) + len(prompts.calibration[topic]) for topic in prompts.train}
    assert sizes == {"a": 10, "b": 10, FOREIGN: 20}


@pytest.mark.parametrize(
    ("topics", "says"),
    [({"a": some("a")}, "two topics"), ({"a": some("a"), "b": ["b"]}, "only 1 different prompts for b")],
)
def test_too_little_to_learn_from_is_refused(topics: dict[str, list[str]], says: str) -> None:
    """One topic, or a topic with hardly a prompt, is an error of the corpus."""
    with pytest.raises(CorpusError, match=says):
        prepare_prompts(topics, some("f"), 0, 10)


def test_punctuation_can_be_put_on_and_taken_off() -> None:
    """Questions get a question mark, other prompts a full stop, and stops already there are kept."""
    assert as_written_text("what is my balance") == "What is my balance?"
    assert as_written_text("play a song") == "Play a song."
    assert as_written_text("Really?") == "Really?"
    assert without_stop("How many rows ?") == "How many rows"
    assert without_stop("?") == "?"
