"""No prompt is learned that is held out, whatever the file looks like."""

import json

import pytest

from configs.errors import ConfigError, CorpusError
from tests.serving.toy_folder import write_tokenizer
from training.distillation.prompts import read_prompts


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def write_lines(folder, records):
    file = folder / "prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))
    return file


def ids(prompts):
    return {tuple(prompt.token_ids) for prompt in prompts}


def test_validation_prompts_are_nobody_elses(tmp_path, tokenizer):
    """A prompt that stands in both splits, or twice, is in one part, once; validation wins."""
    records = [{"prompt": f"question {number}", "split": "train"} for number in range(60)]
    records += [{"prompt": f"question {number}", "split": "validation"} for number in range(50, 70)] * 2
    found = read_prompts(write_lines(tmp_path, records), "sql", tokenizer, longest=99)
    parts = [found.train, found.development, found.validation]
    assert [len(ids(part)) for part in parts] == [len(part) for part in parts]
    assert len(found.validation) == 20
    assert sum(map(len, parts)) == 70
    assert len(found.development) in range(1, 13)
    everything = [prompt for part in parts for prompt in ids(part)]
    assert len(set(everything)) == len(everything)


def test_a_file_without_splits_is_split_by_its_prompts_alone(tmp_path, tokenizer):
    """The order of the lines changes nothing, nor do further lines move a prompt from one part to another."""
    records = [{"prompt": f"question {number}"} for number in range(80)]
    first = read_prompts(write_lines(tmp_path, records), "sql", tokenizer, longest=99)
    assert read_prompts(write_lines(tmp_path, records[::-1]), "sql", tokenizer, longest=99) == first
    more = read_prompts(write_lines(tmp_path, [*records, {"prompt": "another"}]), "sql", tokenizer, longest=99)
    assert ids(more.validation) >= ids(first.validation)
    assert not ids(more.train) & ids(first.validation)


def test_other_topics_are_others_and_other_splits_nothing(tmp_path, tokenizer):
    """Their validation and test records are left alone; chat format and responses are encoded."""
    records = [{"prompt": f"sql {number}", "topic": "sql", "response": "a"} for number in range(40)]
    records += [{"prompt": "theirs", "topic": "math", "split": split} for split in ("train", "test")]
    records += [{"prompt": "held", "topic": "math", "split": "validation"}]
    found = read_prompts(write_lines(tmp_path, records), "sql", tokenizer, longest=99)
    assert [tokenizer.decode(prompt.token_ids) for prompt in found.others] == ["<|user|>theirs<|assistant|>"]
    assert tokenizer.decode(found.train[0].response) == "a<|end|>"
    assert found.others[0].response is None
    few = read_prompts(write_lines(tmp_path, records), "sql", tokenizer, longest=99, limit=5)
    assert len(few.train) == 5
    general = read_prompts(write_lines(tmp_path, records), "general", tokenizer, longest=99)
    assert ids(general.validation) > ids(found.validation)
    assert general.others == []
    assert len(few.validation) <= 4


def test_a_file_with_too_little_says_so(tmp_path, tokenizer):
    """No prompts of the topic, or no such file."""
    with pytest.raises(CorpusError, match="no sql prompts for train"):
        read_prompts(write_lines(tmp_path, [{"prompt": "a", "topic": "math"}]), "sql", tokenizer, longest=99)
    with pytest.raises(ConfigError, match="no file"):
        read_prompts(tmp_path / "none", "sql", tokenizer, longest=99)
