"""Whoever writes a text, its laws are the target's by a fresh forward, and seeds alone decide what is written."""

import pytest
import torch

from configs.errors import CorpusError
from decoding.torch_model import TorchModel
from tests.decoding.conftest import transformers_logits, write_checkpoint
from training.distillation.material import Writers, from_prompts, plain_text
from training.distillation.prompts import Prompts
from training.distillation.scoring import score
from training.distillation.sequences import SOURCES, Prompt, Writing, write

END = 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return write_checkpoint(place / "target", "llama"), write_checkpoint(
        place / "student", "qwen3", num_hidden_layers=1
    )


@pytest.fixture
def models(folders):
    return tuple(TorchModel.from_folder(folder, num_slots=4, max_length=64) for folder in folders)


PROMPTS = [(number, Prompt([3 + number, 9, 11], [5, 6, END])) for number in range(5)]
HOW = Writing(frozenset({END}), max_tokens=9, temperatures=(0.0, 1.0))


def greedy(model_folder, token_ids, length):
    token_ids = list(token_ids)
    for _ in range(length):
        token_ids.append(int(transformers_logits(model_folder, token_ids)[-1].argmax()))
        if token_ids[-1] == END:
            break
    return token_ids


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_written_depends_on_seed_and_number_alone(models, source):
    """Prompts written one at a time give the texts of prompts written together; another seed gives others."""
    together = write(source, PROMPTS, *models, HOW)
    alone = [write(source, [each], *models, HOW)[0] for each in PROMPTS]
    assert together == alone
    for (token_ids, first), (_, prompt) in zip(together, PROMPTS, strict=True):
        assert first == 3
        assert token_ids[:3] == prompt.token_ids
        assert 1 <= len(token_ids) - 3 <= 9
        assert END not in token_ids[3:-1]
    assert all(model.cache.num_free == 4 for model in models)
    if source != "data":
        other = Writing(HOW.end_token_ids, HOW.max_tokens, (1.0,), seed=2)
        assert write(source, PROMPTS, *models, other) != together


def test_greedy_texts_are_those_of_their_authors(models, folders):
    """Teacher and student as transformers says; mixed by request each text is wholly one's; the data are the data."""
    cold = Writing(frozenset({END}), max_tokens=6, temperatures=(0.0,), student_share=0.5)
    by = [[(greedy(folder, prompt.token_ids, 6), 3) for _, prompt in PROMPTS] for folder in folders]
    assert write("teacher", PROMPTS, *models, cold) == by[0]
    assert write("student", PROMPTS, *models, cold) == by[1]
    mixed = write("mixed-request", PROMPTS, *models, cold)
    assert all(text in pair for text, pair in zip(mixed, zip(*by, strict=True), strict=True))
    assert mixed not in by
    assert write("data", PROMPTS, *models, cold)[0] == ([3, 9, 11, 5, 6, END], 3)


def test_mixed_by_token_each_token_is_what_its_author_says_after_all_before(models, folders):
    """At temperature 0 every token is the argmax of the model whose turn the coins give it, over the whole text."""
    cold = Writing(frozenset({END}), max_tokens=8, temperatures=(0.0,))
    turns = []
    for (number, _), (token_ids, first) in zip(PROMPTS, write("mixed-token", PROMPTS, *models, cold), strict=True):
        coins = cold.coins(number)
        for place in range(first, len(token_ids)):
            turns.append(coins.random() < cold.student_share)
            assert token_ids[place] == int(transformers_logits(folders[turns[-1]], token_ids[:place])[-1].argmax())
    assert 0 < sum(turns) < len(turns)


def test_laws_are_a_fresh_forward_of_the_target_over_any_text(models, folders):
    """Also over what the student wrote: each law is transformers' softmax one position before its token."""
    texts = write("student", PROMPTS, *models, HOW)
    examples = score(models[0], texts, top=5)
    row = 0
    for token_ids, first in texts:
        laws = transformers_logits(folders[0], token_ids).softmax(-1)
        for place in range(first, len(token_ids)):
            best = laws[place - 1].topk(5)
            assert examples.learnt[row] == token_ids[place]
            assert examples.top_ids[row].tolist() == best.indices.tolist()
            assert torch.allclose(examples.top_probs[row].float(), best.values, atol=2e-3)
            row += 1
    assert row == len(examples.places)


def test_texts_once_written_are_not_written_again(models, tmp_path):
    """A job that goes on reads what is there; other models or settings write anew; held-out text is the target's."""
    prompts = Prompts(*([prompt for _, prompt in PROMPTS][part] for part in (slice(3), slice(3, 4), slice(4, 5))), [])
    calls = []

    def loaded(model):
        def load():
            calls.append(1)
            return model

        return load

    writers = Writers(loaded(models[0]), loaded(models[1]))
    told = []
    first = from_prompts(prompts, "student", HOW, writers, "a", tmp_path, lambda *progress: told.append(progress))
    assert len(calls) == 6
    assert told == [("train", 3, 3), ("development", 1, 1), ("validation", 1, 1)]
    again = from_prompts(prompts, "student", HOW, writers, "a", tmp_path, lambda *_: None)
    assert len(calls) == 6
    assert again.digests() == first.digests()
    assert first.window == "3 prompts, answered by the draft"
    from_prompts(prompts, "student", HOW, writers, "b", tmp_path, lambda *_: None)
    assert len(calls) == 12
    teacher = write("teacher", [(0, PROMPTS[4][1])], *models, HOW)
    assert first.validation.token_ids.tolist() == teacher[0][0]


def test_plain_text_is_the_training_split_alone():
    """Prompts and responses of train and development; others as many as the topic has, or all; never validation."""
    own = [Prompt([1, number], [9]) for number in range(3)]
    others = [Prompt([2, number], [9]) for number in range(7)]
    prompts = Prompts(own[:2], own[2:], [Prompt([3, 3], [9])], others)
    assert len(plain_text(prompts, topic_only=True)) == 6
    assert len(plain_text(prompts, topic_only=False)) == 10
    assert 3 not in plain_text(prompts, topic_only=False).token_ids[::3]
    with pytest.raises(CorpusError, match="no responses"):
        plain_text(Prompts([Prompt([1])], [], [], []), topic_only=True)
