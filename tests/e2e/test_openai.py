"""OpenAI's client as it comes: no settings but address and key, and the ways of calling it that programs use.

What answers hold is tested in test_api.py and test_sampling.py, through the same client; errors in mid-stream after a
deadline and a death of the worker in test_lifecycle.py and test_faults.py.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

pytestmark = pytest.mark.e2e

MESSAGES: Any = [{"role": "user", "content": "one on the"}]
ASKED: Any = {"model": "toy", "messages": MESSAGES, "temperature": 0, "max_tokens": 24}


@pytest.fixture(scope="module")
def plain(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        yield client


def test_everything_at_once_streamed_and_not(plain: openai.OpenAI) -> None:
    """Chat with seed, stop, logprobs and n: the stream says what the whole answer says."""
    asked: Any = {**ASKED, "temperature": 1.0, "seed": 5, "stop": ["q"], "n": 2, "logprobs": True, "top_logprobs": 2}
    whole = plain.chat.completions.create(**asked)
    texts, logprobs = ["", ""], [[], []]  # type: ignore[var-annotated]
    for chunk in plain.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.logprobs and choice.logprobs.content:
                logprobs[choice.index] += choice.logprobs.content
    assert texts == [choice.message.content for choice in whole.choices]
    assert logprobs == [choice.logprobs.content for choice in whole.choices if choice.logprobs]
    assert texts[0] != texts[1]
    assert not any("q" in text for text in texts)


def test_plain_completions_with_all_of_it(plain: openai.OpenAI) -> None:
    asked: Any = {"model": "toy", "prompt": "the one", "max_tokens": 16, "seed": 5, "stop": "q", "n": 2, "logprobs": 2}
    whole = plain.completions.create(**asked)
    texts = ["", ""]
    for chunk in plain.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert all(choice.logprobs and choice.logprobs.tokens for choice in whole.choices)


def test_the_stream_helper_gathers_the_answer(plain: openai.OpenAI) -> None:
    """It checks every chunk against OpenAI's types and adds them up."""
    text = plain.chat.completions.create(**ASKED).choices[0].message.content or ""
    asked = {**ASKED, "stop": [text[7:11]]}  # at "length" the helper raises, which is its way
    with plain.chat.completions.stream(**asked) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == text[: text.index(text[7:11])]
    assert final.choices[0].finish_reason == "stop"


def test_the_asynchronous_client_asks_for_several_at_once(url: str) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            whole = [client.chat.completions.create(**ASKED) for _ in range(3)]
            said = [reply.choices[0].message.content for reply in await asyncio.gather(*whole)]
            chunks = await client.chat.completions.create(**ASKED, stream=True)
            return [*said, "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])]

    assert len(set(asyncio.run(ask()))) == 1


def test_a_stream_may_be_left_in_the_middle(plain: openai.OpenAI) -> None:
    """And the next one says all."""
    with plain.chat.completions.create(**{**ASKED, "max_tokens": 4000}, stream=True) as stream:
        next(iter(stream))
    assert plain.chat.completions.create(**ASKED).choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_refusals_are_its_own_exceptions(plain: openai.OpenAI, stream: bool) -> None:
    """Also where a stream was asked for: nothing has begun yet."""
    with pytest.raises(openai.BadRequestError) as raised:
        plain.chat.completions.create(**{**ASKED, "top_p": 2}, stream=stream)
    assert (raised.value.param, raised.value.type) == ("top_p", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as missing:
        plain.chat.completions.create(**{**ASKED, "model": "gpt-4"}, stream=stream)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        plain.chat.completions.create(
            **{**ASKED, "messages": [{"role": "user", "content": "a b " * 5000}]}, stream=stream
        )
    assert long.value.code == "context_length_exceeded"
