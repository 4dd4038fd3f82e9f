"""Which prompts are labelled, and how their text is read from a log."""

import json
from dataclasses import replace

import pytest

from configs.errors import ConfigError
from tests.serving.toy_folder import write_tokenizer
from tests.toy_traces import make_trace
from training.distillation.prompts import split_of
from training.labels.questions import PromptText, Question, read_questions, traced_questions


def write(file, *records):
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


class TestReading:
    def test_a_file_s_name_stands_for_a_missing_topic_in_a_folder(self, tmp_path):
        """In a file on its own nothing is known."""
        write(
            tmp_path / "sql.jsonl", {"prompt": "a", "split": "train"}, {"prompt": "b", "topic": "x", "split": "train"}
        )
        assert read_questions(tmp_path, "train") == [Question("a", "sql"), Question("b", "x")]
        assert read_questions(tmp_path / "sql.jsonl", "train") == [Question("a", ""), Question("b", "x")]

    def test_a_prompt_of_both_splits_is_held_out(self, tmp_path):
        """Whichever comes first, and in whichever file."""
        write(tmp_path / "a.jsonl", {"prompt": "p", "split": "train"}, {"prompt": "q", "split": "train"})
        write(tmp_path / "b.jsonl", {"prompt": "p", "split": "validation"})
        assert read_questions(tmp_path, "train") == [Question("q", "a")]
        assert read_questions(tmp_path, "validation") == [Question("p", "b")]

    def test_a_record_without_a_split_falls_where_its_text_says(self, tmp_path):
        """As for the drafts, so that no draft has learned a held-out prompt."""
        texts = [f"prompt {number}" for number in range(200)]
        file = write(tmp_path / "a.jsonl", *({"prompt": text} for text in texts))
        held_out = {each.text for each in read_questions(file, "validation")}
        assert held_out == {text for text in texts if split_of(text, {}) == "validation"}
        assert 5 < len(held_out) < 40

    def test_a_limit_takes_the_same_prompts_whatever_stands_beside_them(self, tmp_path):
        """By their text."""
        records = [{"prompt": f"p{number}", "topic": "t", "split": "train"} for number in range(50)]
        some = read_questions(write(tmp_path / "a.jsonl", *records), "train", 5)
        assert len(some) == 5
        assert some == read_questions(write(tmp_path / "b.jsonl", *reversed(records)), "train", 5)

    def test_nothing_to_label_is_an_error(self, tmp_path):
        """With what to pass."""
        with pytest.raises(ConfigError, match=r"no \*\.jsonl"):
            read_questions(tmp_path, "train")
        with pytest.raises(ConfigError, match="has no validation prompts"):
            read_questions(write(tmp_path / "a.jsonl", {"prompt": "p", "split": "train"}), "validation")


class TestTraced:
    def test_the_newest_answer_to_each_prompt_comes_first(self):
        """Topics are groups; a limit is a topic's."""
        traces = [make_trace(1), make_trace(2, topic=None), make_trace(3), replace(make_trace(1), draft="x")]
        found = list(traced_questions(traces, lambda trace: str(trace.token_ids[0])))
        assert [question for question, _ in found] == [Question("1", "sql"), Question("3", "sql"), Question("2", "")]
        assert found[0][1].draft == "x"
        assert len(list(traced_questions(traces, str, most=1))) == 2

    @pytest.mark.parametrize("said", ["the hen", " é€ ", "a? "])
    def test_the_text_is_what_the_user_said_last(self, tmp_path, said):
        """After an earlier turn, too; whatever the words, less a template's own marks."""
        write_tokenizer(tmp_path)
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        text_of = PromptText(tokenizer)
        question = {"role": "user", "content": said}
        earlier = [{"role": "user", "content": "in"}, {"role": "assistant", "content": "on"}]
        for turns in ([question], [*earlier, question]):
            ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
            trace = replace(make_trace(), token_ids=[*ids, 5, 6], prompt_length=len(ids))
            assert text_of(trace) == said

    def test_a_prompt_that_no_template_rendered_is_taken_whole(self, tmp_path):
        """As a plain completion is."""
        write_tokenizer(tmp_path)
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        ids = tokenizer("the hen in")["input_ids"]
        trace = replace(make_trace(), token_ids=[*ids, 5], prompt_length=len(ids))
        assert PromptText(tokenizer)(trace) == "the hen in"
