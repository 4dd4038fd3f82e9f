"""What drafts learn from: the target answers prompts until there is text enough, and writes nothing twice."""

from pathlib import Path

import pytest
import torch

from training.starter import answers as module
from training.starter.answers import Answers, joined, write_answers, write_texts

STARTER = Path(__file__).parents[3] / "starter" / "target"
PROMPTS = [[5, 6, number + 7] for number in range(6)]
TOKENS = 8  # of an answer, at most
NO_END = -1  # every answer is as long as it may be


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "_PART", 4)


def texts(answers: Answers) -> list[tuple[int, ...]]:
    bounds = zip(answers.starts[:-1].tolist(), answers.starts[1:].tolist(), strict=True)
    return [tuple(answers.token_ids[start:end].tolist()) for start, end in bounds]


def prompts(answers: Answers) -> list[tuple[int, ...]]:
    return [text[:3] for text in texts(answers)]


def write(folder: Path, tokens: int) -> Answers:
    return write_texts(folder, PROMPTS, NO_END, TOKENS, tokens, STARTER)


def test_each_prompt_is_answered_once_before_any_is_answered_again(tmp_path):
    """Where there are prompts enough, none comes twice; where not, the answers of a second turn are others."""
    length = len(PROMPTS[0]) + TOKENS
    assert len(write(tmp_path, 4 * length)) == 4
    once = write(tmp_path, 6 * length)
    assert sorted(prompts(once)) == sorted(map(tuple, PROMPTS))
    more = write(tmp_path, 12 * length)
    assert texts(more)[:6] == texts(once)
    assert sorted(prompts(more)[6:]) == sorted(map(tuple, PROMPTS))
    again = dict(zip(prompts(more)[6:], texts(more)[6:], strict=True))
    assert sum(again[text[:3]] != text for text in texts(once)) >= 4


def test_turns_end_when_there_is_no_getting_enough(tmp_path):
    assert len(write(tmp_path, 10**9)) == module.TURNS * len(PROMPTS)


def test_what_is_written_is_found_again(tmp_path, monkeypatch):
    """Also when more is wanted than there was."""
    first = write(tmp_path, 44)

    def fails(*_args, **_options):
        raise AssertionError("written again")

    monkeypatch.setattr(module.StepLoop, "run", fails)
    assert texts(write(tmp_path, 44)) == texts(first)
    with pytest.raises(AssertionError, match="written again"):
        write(tmp_path, 10**9)


def test_joined_texts_keep_their_answers_and_laws(tmp_path):
    """Every text of every part, with the law after each of its tokens."""
    parts = [
        write_answers(tmp_path / "a", PROMPTS[:4], NO_END, TOKENS, 1, STARTER),
        write_answers(tmp_path / "b", PROMPTS[4:], NO_END, TOKENS, 2, STARTER),
    ]
    whole = joined(parts)
    assert texts(whole) == [text for part in parts for text in texts(part)]
    assert torch.equal(whole.answer_mask(), torch.cat([part.answer_mask() for part in parts]))
    assert torch.equal(whole.top_probs, torch.cat([part.top_probs for part in parts]))
    assert len(whole.examples().places) == len(PROMPTS) * TOKENS
