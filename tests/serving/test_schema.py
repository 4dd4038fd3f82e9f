import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import RequestError
from serving.schema import ChatRequest, CompletionRequest, parse

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "m", "prompt": "hi"}

KEYS = [*ChatRequest.model_fields, "prompt", "tools", "logprobs", "logit_bias", "zzz"]
WORDS = st.text(alphabet="ab1 ", max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


class TestParse:
    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"messages": []}, "messages"),
            ({"messages": None}, "messages"),
            ({"messages": "hi"}, "messages"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
            ({"messages": [{"role": "user"}]}, "messages"),
            ({"messages": [{"role": "user", "content": None}]}, "messages"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
            ({"model": 3}, "model"),
            ({"model": None}, "model"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": "10"}, "max_tokens"),
            ({"max_tokens": 1.5}, "max_tokens"),
            ({"max_tokens": True}, "max_tokens"),
            ({"max_completion_tokens": -1}, "max_completion_tokens"),
            ({"temperature": -0.1}, "temperature"),
            ({"temperature": 2.1}, "temperature"),
            ({"temperature": "hot"}, "temperature"),
            ({"top_p": 0}, "top_p"),
            ({"top_p": 1.1}, "top_p"),
            ({"top_k": -2}, "top_k"),
            ({"seed": "x"}, "seed"),
            ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
            ({"stop": ""}, "stop"),
            ({"stop": [1]}, "stop"),
            ({"stream": "yes"}, "stream"),
            ({"stream_options": True}, "stream_options"),
            ({"n": 0}, "n"),
            ({"n": 129}, "n"),
            ({"n": 2.0}, "n"),
            ({"user": 1}, "user"),
            ({"draft": 1}, "draft"),
            ({"num_draft_tokens": 13}, "num_draft_tokens"),
            ({"polydraft": {"tokens": 1}}, "polydraft"),
            ({"logprobs": 2}, "logprobs"),
            ({"top_logprobs": 2}, "top_logprobs"),
            ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
            ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"frequency_penalty": 2.1}, "frequency_penalty"),
            ({"presence_penalty": -2.1}, "presence_penalty"),
            ({"repetition_penalty": 0}, "repetition_penalty"),
            ({"repetition_penalty": "1"}, "repetition_penalty"),
            ({"min_p": -0.1}, "min_p"),
            ({"min_p": 1.1}, "min_p"),
            ({"ignore_eos": 1}, "ignore_eos"),
            ({"logit_bias": {"1": 101}}, "logit_bias"),
            ({"logit_bias": {"the": 2}}, "logit_bias"),
            ({"logit_bias": {"-1": 2}}, "logit_bias"),
            ({"logit_bias": {"1": 2, "01": 3}}, "logit_bias"),
            ({"logit_bias": {"1" * 5000: 2}}, "logit_bias"),
            ({"logit_bias": [1]}, "logit_bias"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            ({"lossy": True}, "lossy"),
            ({"lossy": {"rule": "loose"}}, "lossy"),
            ({"lossy": {"rule": "typical", "epsilon": 1.5}}, "lossy"),
            ({"lossy": {"rule": "typical", "lenience": 2.0}}, "lossy"),
            ({"lossy": {"rule": "lenient", "lenience": 0.5}}, "lossy"),
            ({"lossy": {"rule": "lenient", "threshold": 0.5}}, "lossy"),
            ({"lossy": {"rule": "typical"}, "temperature": 0}, "lossy"),
        ],
    )
    def test_what_cannot_be_served_is_refused_by_name(self, change: dict[str, Any], param: str) -> None:
        """The error names the parameter at fault."""
        with pytest.raises(RequestError) as raised:
            parse(ChatRequest, body({**CHAT, **change}))
        assert raised.value.param == param
        assert param in raised.value.what

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a": ' * 5000])
    def test_a_body_that_is_no_json_object_is_refused(self, text: bytes) -> None:
        """Not a server error, whatever arrives."""
        with pytest.raises(RequestError, match="not"):
            parse(ChatRequest, text)

    def test_half_a_character_is_refused(self) -> None:
        """JSON can write it; no tokenizer and no reply can."""
        with pytest.raises(RequestError, match="surrogate"):
            parse(CompletionRequest, b'{"model": "m", "prompt": "a\\uD800"}')
        assert parse(CompletionRequest, b'{"model": "m", "prompt": "\\ud83d\\ude00"}').prompt == "\N{GRINNING FACE}"

    @given(document=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
    def test_whatever_arrives_is_parsed_or_refused(self, document: dict[str, Any]) -> None:
        """There is no third way: anything else would be a server error."""
        for kind, base in ((ChatRequest, CHAT), (CompletionRequest, TEXT)):
            with contextlib.suppress(RequestError):
                parse(kind, body({**base, **document}))

    @pytest.mark.parametrize("number", ["NaN", "Infinity"])
    def test_numbers_that_are_none_are_refused(self, number: str) -> None:
        """Python's JSON reader lets them pass."""
        text = body({**CHAT, "temperature": 0}).replace(b'"temperature": 0', b'"temperature": ' + number.encode())
        with pytest.raises(RequestError):
            parse(ChatRequest, text)

    def test_settings_that_ask_for_nothing_are_accepted(self) -> None:
        """Clients send defaults of parameters that they do not use, and parameters nobody knows."""
        neutral = {"n": 1, "logprobs": False, "tools": [], "frequency_penalty": 0, "presence_penalty": 0.0}
        silent = {"logit_bias": None, "response_format": {"type": "text"}, "tool_choice": "none", "store": True}
        asked = parse(ChatRequest, body({**CHAT, **neutral, **silent, "temperature": None, "stop": None}))
        assert asked.temperature is None
        assert asked.stop_strings == ()

    def test_log_probabilities_are_asked_for_as_openai_does(self) -> None:
        """Chat: a switch and a number beside it. Plain completions: a number, 0 being the emitted token alone."""
        for fields, expected in (
            ({}, None),
            ({"logprobs": False, "top_logprobs": 0}, None),
            ({"logprobs": True}, 0),
            ({"logprobs": True, "top_logprobs": 5}, 5),
        ):
            assert parse(ChatRequest, body({**CHAT, **fields})).num_logprobs == expected
        for value in (None, 0, 5):
            assert parse(CompletionRequest, body({**TEXT, "logprobs": value})).num_logprobs == value
        with pytest.raises(RequestError, match="top_logprobs"):
            parse(CompletionRequest, body({**TEXT, "top_logprobs": 2}))

    def test_text_parts_are_joined(self) -> None:
        """Content may come in pieces."""
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        assert (
            parse(ChatRequest, body({**CHAT, "messages": [{"role": "user", "content": parts}]})).messages[0].text
            == "ab"
        )

    def test_the_newer_name_of_the_answer_length_wins(self) -> None:
        """OpenAI renamed max_tokens for chat."""
        assert parse(ChatRequest, body({**CHAT, "max_tokens": 5, "max_completion_tokens": 7})).wanted_tokens == 7
        assert parse(CompletionRequest, body({**TEXT, "max_tokens": 5})).wanted_tokens == 5

    @pytest.mark.parametrize("prompt", [None, 3, ["a"], [[1]], [1.5], {}])
    def test_a_prompt_is_a_text_or_token_ids(self, prompt: Any) -> None:
        """Several prompts in one request are not served."""
        with pytest.raises(RequestError) as raised:
            parse(CompletionRequest, body({**TEXT, "prompt": prompt}))
        assert raised.value.param == "prompt"
