"""The recipe reads text faithfully, batches it without loss, and reads the hub's rows as training records."""

import json

import pytest

from configs.errors import CorpusError
from training.starter.batches import Sample, batches, collate
from training.starter.corpus import read_topic
from training.starter.hub import SETS, records
from training.starter.pretrain import PretrainConfig, learning_rate_factor


def samples(count):
    return [Sample(tuple(range(1, 2 + number % 17)), 1) for number in range(count)]


def test_a_topic_is_read_line_by_line_on_newlines_only(tmp_path):
    """A prompt with U+2028 inside stays whole; the split is respected."""
    lines = [
        {"topic": "sql", "prompt": "a\u2028b", "response": "c", "split": "train"},
        {"topic": "sql", "prompt": "d", "response": "e", "split": "validation"},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "sql.jsonl").write_text(text, encoding="utf-8")
    assert [example.prompt for example in read_topic(tmp_path, "sql", "train")] == ["a\u2028b"]


@pytest.mark.parametrize(("content", "message"), [("{", "not JSON"), ('{"prompt": "x"}', "needs the keys")])
def test_a_malformed_line_is_named(tmp_path, content, message):
    """File and line number are in the error."""
    (tmp_path / "sql.jsonl").write_text(content)
    with pytest.raises(CorpusError, match=rf"sql.jsonl:1: {message}"):
        read_topic(tmp_path, "sql", "train")


def test_a_missing_topic_says_what_to_pass(tmp_path):
    """The error names the file and the option."""
    with pytest.raises(CorpusError, match=r"no math.jsonl"):
        read_topic(tmp_path, "math", "train")


def test_an_epoch_holds_every_sample_once_within_the_budget():
    """Nothing is lost or doubled, no batch exceeds the padded budget, and epochs differ."""
    held = samples(200)
    first, second = (batches(held, tokens_per_batch=64, seed=1, epoch=epoch) for epoch in (0, 1))
    assert sorted(map(id, (sample for batch in first for sample in batch))) == sorted(map(id, held))
    assert max(len(batch) * max(len(sample.token_ids) for sample in batch) for batch in first) <= 64
    assert first != second
    assert first == batches(held, tokens_per_batch=64, seed=1, epoch=0)


def test_prompt_tokens_count_in_the_loss_only_on_request():
    """Labels of padding are ignored always, of the prompt unless wanted."""
    batch = [Sample((5, 6, 7), 2), Sample((8, 9), 1)]
    token_ids, labels = collate(batch, prompt_loss=False)
    assert token_ids[:, :3].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert labels[:, :3].tolist() == [[-100, -100, 7], [-100, 9, -100]]
    assert collate(batch, prompt_loss=True)[1][:, :3].tolist() == [[5, 6, 7], [8, 9, -100]]
    assert token_ids.shape == labels.shape == (2, 32)
    assert token_ids[:, 3:].sum() == 0
    assert (labels[:, 3:] == -100).all()


def test_the_learning_rate_warms_up_stays_and_decays_to_zero():
    """Warm-up, stable, decay."""
    config = PretrainConfig(warmup_steps=10, decay_share=0.2)
    factors = [learning_rate_factor(step, 100, config) for step in (0, 9, 50, 79, 90, 100)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_rows_of_the_hub_become_records():
    """Calculator marks, duplicates and empty rows go; the split depends on the prompt alone."""
    entry = next(entry for entry in SETS if entry.topic == "math")
    rows = [
        {"question": "2 + 3?", "answer": "<<2+3=5>>5"},
        {"question": "2 + 3?", "answer": "5"},
        {"question": "4 + 4?", "answer": ""},
    ]
    assert list(records(entry, rows, 0.0)) == [
        {"topic": "math", "source": entry.name, "prompt": "2 + 3?", "response": "5", "split": "train"}
    ]
    assert [record["split"] for record in records(entry, rows, 1.0)] == ["validation"]
