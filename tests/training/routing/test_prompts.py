"""Prompts of a router: read, deduplicated, and split by what they say."""

import json
from pathlib import Path

import pytest

from configs.errors import ConfigError, CorpusError
from router.prompts import FOREIGN
from training.routing.prompts import PARTS, Labelled, RoutingPrompts, read_labelled, split_prompts


def some(name: str, count: int = 200, **more: bool) -> list[Labelled]:
    return [Labelled(f"{name} number {number}", name, **more) for number in range(count)]


def texts_of(prompts: RoutingPrompts) -> dict[str, str]:
    """Text -> part; fails if a text is in two."""
    pairs = [(text, part) for part, topics in prompts.parts.items() for texts in topics.values() for text in texts]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_every_prompt_is_in_one_part_whatever_the_order_and_whatever_comes_later() -> None:
    """Shares are about 70, 15 and 15 of a hundred; a prompt stays where it was when there are more of them."""
    records = [*some("sql"), *some("math"), *some(FOREIGN)]
    first = split_prompts(records)
    assert [first.size(part) / 600 for part in PARTS] == pytest.approx([0.7, 0.15, 0.15], abs=0.04)
    before = texts_of(first)
    assert texts_of(split_prompts(reversed(records))) == before
    later = texts_of(split_prompts([*records, *some("shell"), *(Labelled(f"more {n}", "sql") for n in range(300))]))
    assert {text: later[text] for text in before} == before


def test_copies_are_dropped_and_what_two_topics_claim_is_nobodys() -> None:
    records = [
        *some("sql"),
        *some("math"),
        *some(FOREIGN),
        Labelled("SQL  number 1", "sql"),
        Labelled("sql number 2", "math"),
    ]
    prompts = split_prompts(records)
    assert (prompts.num_given, prompts.num_duplicates, prompts.num_ambiguous) == (602, 1, 1)
    assert "sql number 2" not in texts_of(prompts)
    assert len(texts_of(prompts)) == 599


def test_a_validation_split_is_held_out_and_nothing_else_is() -> None:
    """Even where the same prompt is among those to learn from: the router that serves may have learned the rest."""
    validation = [Labelled(f"{name} number {n}", name, True) for name in ("sql", "math", FOREIGN) for n in range(20)]
    records = [each for name in ("sql", "math", FOREIGN) for each in some(name, is_held_out=False)]
    parts = texts_of(split_prompts([*records, *validation, *some("sql", 300)]))
    assert {text for text, part in parts.items() if part == "held_out"} == {record.text for record in validation}


def test_the_seed_chooses_what_to_learn_from_and_never_what_is_held_out() -> None:
    records = [*some("sql"), *some("math"), *some(FOREIGN)]
    one, other = (split_prompts(records, seed=seed, per_topic=100) for seed in (1, 2))
    assert one.parts["train"] != other.parts["train"]
    assert one.parts["held_out"] == other.parts["held_out"]
    assert len(one.parts["train"]["sql"]) == 70
    assert len(one.parts["train"][FOREIGN]) > 100
    assert split_prompts(records, seed=1, per_topic=100).digest("train") == one.digest("train") != other.digest("train")


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([*some("sql"), *some(FOREIGN)], "two topics or more"),
        ([*some("sql"), *some("math")], "nothing says what no topic is like"),
        ([*some("sql"), *some("math", 6), *some(FOREIGN)], "different prompts for math"),
    ],
)
def test_too_little_to_learn_from_is_refused(records: list[Labelled], says: str) -> None:
    with pytest.raises(CorpusError, match=says):
        split_prompts(records)


def test_files_name_their_topic_and_splits_of_other_names_are_left_alone(tmp_path: Path) -> None:
    """A file needs it on each line; in a folder the file's name will do."""
    lines = [{"prompt": "a"}, {"prompt": "b", "topic": "math", "split": "validation"}, {"prompt": "c", "split": "test"}]
    (tmp_path / "sql.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_labelled(tmp_path) == [Labelled("a", "sql"), Labelled("b", "math", True)]
    with pytest.raises(ConfigError, match="needs topic"):
        read_labelled(tmp_path / "sql.jsonl")
    with pytest.raises(CorpusError, match=r"no \*\.jsonl"):
        read_labelled(tmp_path / "..")
