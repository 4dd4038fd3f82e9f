"""Sampling parameters through OpenAI's own client, against a real server with toy models."""

from typing import Any

import openai
import pytest

pytestmark = pytest.mark.e2e

ASKED: Any = {"model": "toy", "messages": [{"role": "user", "content": "one on the"}], "max_tokens": 40}
GREEDY: Any = {**ASKED, "temperature": 0}
SAMPLED: Any = {**ASKED, "temperature": 1.2, "seed": 5}
PROCESSORS: Any = {
    "presence_penalty": 0.7,
    "frequency_penalty": 0.9,
    "logit_bias": {"10": -100, "12": 3.5},
    "extra_body": {"repetition_penalty": 1.3},
}


def with_draft(draft: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "extra_body": {**fields.get("extra_body", {}), "draft": draft, "num_draft_tokens": 3}}


class TestProcessors:
    @pytest.mark.parametrize("draft", ["general", "sql", "math", "lookup"])
    def test_no_draft_changes_a_greedy_answer_under_penalties(self, client: openai.OpenAI, draft: str) -> None:
        """And the penalties do change it."""
        plain = client.chat.completions.create(**with_draft("none", {**GREEDY, **PROCESSORS}))
        drafted = client.chat.completions.create(**with_draft(draft, {**GREEDY, **PROCESSORS}))
        unpenalised = client.chat.completions.create(**GREEDY)
        assert drafted.choices[0].message.content == plain.choices[0].message.content
        assert drafted.choices[0].message.content != unpenalised.choices[0].message.content

    def test_a_draft_that_is_the_target_is_accepted_whole_under_penalties(self, client: openai.OpenAI) -> None:
        """It is penalised as the target is, drafted tokens included."""
        for base in (GREEDY, SAMPLED):
            asked = {**base, **PROCESSORS}
            asked["extra_body"] = {**asked["extra_body"], "min_p": 0.02}
            reply = client.chat.completions.create(**with_draft("sql", asked))
            assert reply.model_extra is not None
            assert reply.model_extra["polydraft"]["draft_acceptance_rate"] == 1.0

    def test_a_banned_token_never_appears(self, client: openai.OpenAI) -> None:
        """A bias of -100 is as good as a ban; one of +100 leaves nothing else."""
        asked = {**SAMPLED, "logprobs": True, "logit_bias": {"12": 100}}
        only = client.chat.completions.create(**asked).choices[0].logprobs
        assert only is not None
        assert only.content is not None
        assert len({entry.token for entry in only.content}) == 1
        banned = client.chat.completions.create(**{**asked, "logit_bias": {"12": -100}}).choices[0].logprobs
        assert banned is not None
        assert banned.content is not None
        assert only.content[0].token not in {entry.token for entry in banned.content}

    def test_the_smallest_nucleus_by_min_p_is_greedy(self, client: openai.OpenAI) -> None:
        """With min_p at 1 only the most probable token is left."""
        greedy = client.chat.completions.create(**GREEDY).choices[0].message.content
        assert client.chat.completions.create(**SAMPLED, extra_body={"min_p": 1}).choices[0].message.content == greedy

    def test_the_end_token_may_be_ignored(self, client: openai.OpenAI) -> None:
        """A bias makes it likely; the answer goes on all the same."""
        asked = {**GREEDY, "logit_bias": {"0": 100}}
        ended = client.chat.completions.create(**asked)
        ignored = client.chat.completions.create(**asked, extra_body={"ignore_eos": True})
        assert ended.usage is not None
        assert ignored.usage is not None
        assert (ended.choices[0].finish_reason, ended.usage.completion_tokens) == ("stop", 1)
        assert (ignored.choices[0].finish_reason, ignored.usage.completion_tokens) == ("length", 40)


class TestChoices:
    def test_n_answers_are_the_same_streamed_and_not(self, client: openai.OpenAI) -> None:
        """A seed repeats all of them; they differ from each other, and the first is the one that n = 1 gives."""
        asked = {**SAMPLED, "extra_body": {"draft": "math", "num_draft_tokens": 3}}
        whole = client.chat.completions.create(**asked, n=3)
        texts = [choice.message.content or "" for choice in whole.choices]
        assert [choice.index for choice in whole.choices] == [0, 1, 2]
        assert len(set(texts)) == 3
        assert client.chat.completions.create(**asked).choices[0].message.content == texts[0]
        streamed = ["", "", ""]
        usage = None
        for chunk in client.chat.completions.create(**asked, n=3, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                streamed[choice.index] += choice.delta.content or ""
        assert streamed == texts
        assert usage == whole.usage

    def test_plain_completions_have_choices_too(self, client: openai.OpenAI) -> None:
        """At temperature 0 they are all the same."""
        reply = client.completions.create(model="toy", prompt="the one", temperature=0, max_tokens=9, n=2)
        assert reply.choices[0].text == reply.choices[1].text
        assert reply.usage is not None
        assert reply.usage.completion_tokens == 18


class TestLogprobs:
    @pytest.mark.parametrize("base", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
    def test_tokens_concatenate_to_the_answer(self, client: openai.OpenAI, base: dict[str, Any]) -> None:
        """Streamed and not, the same entries; each has as many alternatives as asked for."""
        names = {"1": -100, "2": -100}  # special tokens have a name but no text
        asked: Any = {**base, "logprobs": True, "top_logprobs": 3, "logit_bias": names}
        choice = client.chat.completions.create(**asked).choices[0]
        assert choice.logprobs is not None
        content = choice.logprobs.content or []
        raw = b"".join(bytes(entry.bytes or []) for entry in content)
        text = (choice.message.content or "").replace("\ufffd", "")  # toys write broken characters too
        assert raw.decode(errors="ignore") == text
        assert all(len(entry.top_logprobs) == 3 and entry.logprob <= 0 for entry in content)
        chunks = client.chat.completions.create(**asked, stream=True)
        logprobs = [part.logprobs for chunk in chunks for part in chunk.choices]
        assert [entry for part in logprobs if part is not None for entry in part.content or []] == content

    @pytest.mark.parametrize("draft", ["sql", "math", "lookup"])
    def test_speculation_changes_no_log_probability(self, client: openai.OpenAI, draft: str) -> None:
        """To the last bit."""
        asked = {**GREEDY, "logprobs": True, "top_logprobs": 5, "frequency_penalty": 1.0}
        plain = client.chat.completions.create(**with_draft("none", asked))
        drafted = client.chat.completions.create(**with_draft(draft, asked))
        assert drafted.choices[0].logprobs == plain.choices[0].logprobs

    def test_plain_completions_have_the_older_shape(self, client: openai.OpenAI) -> None:
        """One list each for tokens, log-probabilities, alternatives and places in the text."""
        choice = client.completions.create(model="toy", prompt="the", temperature=0, max_tokens=9, logprobs=2).choices[
            0
        ]
        assert choice.logprobs is not None
        lists = (choice.logprobs.tokens, choice.logprobs.token_logprobs, choice.logprobs.top_logprobs)
        assert {len(each or []) for each in lists} == {len(choice.logprobs.text_offset or [])}
        assert choice.logprobs.text_offset is not None
        assert choice.logprobs.text_offset[0] == 0
