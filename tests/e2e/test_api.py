"""The API through OpenAI's own client and as bytes, against a real server with toy models."""

import json
from typing import Any

import httpx
import openai
import pytest

from serving.endpoints import MAX_BODY_BYTES
from tests.e2e.conftest import SLOTS

pytestmark = pytest.mark.e2e

MESSAGES: Any = [{"role": "system", "content": "the"}, {"role": "user", "content": "one on the"}]
GREEDY: Any = {"model": "toy", "messages": MESSAGES, "temperature": 0, "max_tokens": 60}


def events(response: httpx.Response) -> list[Any]:
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


class TestAnswers:
    def test_chat_is_the_same_streamed_and_not(self, client: openai.OpenAI) -> None:
        """One id for all chunks, the role first, the finish reason last."""
        whole = client.chat.completions.create(**GREEDY)
        chunks = list(client.chat.completions.create(**GREEDY, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, whole.choices[0].finish_reason]
        assert whole.usage is not None
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    def test_usage_is_streamed_to_those_who_ask(self, client: openai.OpenAI) -> None:
        """In a last chunk without choices."""
        whole = client.chat.completions.create(**GREEDY)
        chunks = list(client.chat.completions.create(**GREEDY, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].usage == whole.usage
        assert chunks[-1].choices == []

    def test_plain_completions_take_text_and_token_ids(self, client: openai.OpenAI, http: httpx.Client) -> None:
        """Both ways say the same, streamed too."""
        text = client.completions.create(model="toy", prompt="the one", temperature=0, max_tokens=20)
        reply = http.post("/v1/completions", json={"model": "toy", "prompt": "the one", "polydraft": {"tokens": True}})
        assert reply.json()["choices"][0]["text"] is not None
        chunks = client.completions.create(model="toy", prompt="the one", temperature=0, max_tokens=20, stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == text.choices[0].text

    @pytest.mark.parametrize("draft", ["auto", "general", "sql", "math", "lookup"])
    def test_no_draft_changes_a_greedy_answer(self, client: openai.OpenAI, draft: str) -> None:
        """They only change how many target runs it takes."""
        plain = client.chat.completions.create(**GREEDY, extra_body={"draft": "none"})
        drafted = client.chat.completions.create(**GREEDY, extra_body={"draft": draft, "num_draft_tokens": 3})
        assert drafted.choices[0].message.content == plain.choices[0].message.content
        assert plain.model_extra is not None
        assert drafted.model_extra is not None
        extras = drafted.model_extra["polydraft"]
        assert extras["draft"] == ("general" if draft == "auto" else draft)
        assert plain.model_extra["polydraft"]["num_draft_tokens"] == 0

    def test_a_perfect_draft_is_accepted_whole(self, client: openai.OpenAI) -> None:
        """The sql draft is the target itself: every run yields its proposal and one token more."""
        reply = client.chat.completions.create(**GREEDY, extra_body={"draft": "sql", "num_draft_tokens": 4})
        assert reply.model_extra is not None
        extras = reply.model_extra["polydraft"]
        assert extras["draft_acceptance_rate"] == 1.0
        assert extras["tokens_per_target_run"] > 4
        assert extras["accepted_per_position"][0] == extras["num_spec_steps"]
        assert extras["reason"] == "asked"

    def test_tokens_and_their_writers_are_shown_on_request(self, http: httpx.Client) -> None:
        """The texts of the tokens concatenate to the answer."""
        body = {**GREEDY, "draft": "math", "polydraft": {"tokens": True}}
        whole = http.post("/v1/chat/completions", json=body).json()
        streamed = events(http.post("/v1/chat/completions", json={**body, "stream": True}))
        runs = [chunk["polydraft"] for chunk in streamed if "run" in chunk.get("polydraft", {})]
        assert [run["run"] for run in runs] == list(range(1, len(runs) + 1))
        text = "".join(token["text"] for run in runs for token in run["tokens"])
        assert text == whole["choices"][0]["message"]["content"]
        assert whole["polydraft"]["tokens"] == runs
        assert {token["by"] for run in runs for token in run["tokens"]} <= {"draft", "corrected", "bonus", "plain"}

    def test_a_stop_string_across_tokens_ends_the_answer_before_it(self, client: openai.OpenAI) -> None:
        """Streamed and not; the finish reason says so."""
        text = client.chat.completions.create(**GREEDY).choices[0].message.content or ""
        stop = text[7:11]
        expected = text[: text.index(stop)]
        whole = client.chat.completions.create(**GREEDY, stop=[stop, "no such text"])
        chunks = list(client.chat.completions.create(**GREEDY, stop=stop, stream=True))
        assert whole.choices[0].message.content == expected
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
        assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "stop"

    def test_a_seed_repeats_a_sampled_answer(self, client: openai.OpenAI) -> None:
        """Another seed gives another answer; without one, each answer is its own."""
        sampled: Any = {**GREEDY, "temperature": 1.5}
        answers = [
            client.chat.completions.create(**sampled, seed=seed).choices[0].message.content for seed in (1, 1, 2)
        ]
        assert answers[0] == answers[1] != answers[2]

    def test_an_answer_that_runs_out_of_tokens_says_length(self, client: openai.OpenAI) -> None:
        """Exactly as many tokens as asked for."""
        reply = client.completions.create(model="toy", prompt="the", max_tokens=3, temperature=0)
        assert reply.usage is not None
        assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 3)

    def test_models_lists_the_one_that_is_served(self, client: openai.OpenAI) -> None:
        """And finds it by name."""
        assert [model.id for model in client.models.list()] == ["toy"]
        assert client.models.retrieve("toy").id == "toy"


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "status", "param"),
        [
            ({"messages": []}, 400, "messages"),
            ({"messages": "x"}, 400, "messages"),
            ({"model": "gpt-4"}, 404, "model"),
            ({"temperature": -1}, 400, "temperature"),
            ({"top_p": 2}, 400, "top_p"),
            ({"max_tokens": "many"}, 400, "max_tokens"),
            ({"n": 0}, 400, "n"),
            ({"n": SLOTS + 1}, 400, "n"),
            ({"min_p": 1.5}, 400, "min_p"),
            ({"presence_penalty": 3}, 400, "presence_penalty"),
            ({"repetition_penalty": 0}, 400, "repetition_penalty"),
            ({"logit_bias": {"x": 1}}, 400, "logit_bias"),
            ({"logit_bias": {"9999": 1}}, 400, "logit_bias"),
            ({"draft": "sqll"}, 400, "draft"),
            ({"num_draft_tokens": 99}, 400, "num_draft_tokens"),
            ({"tools": [{}]}, 400, "tools"),
            ({"top_logprobs": 3}, 400, "top_logprobs"),
            ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
            ({"stop": ["a"] * 5}, 400, "stop"),
            ({"messages": [{"role": "user", "content": "a b " * 5000}]}, 400, "messages"),
            ({"messages": [{"role": "user", "content": "x" * MAX_BODY_BYTES}]}, 413, None),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_bad_requests_get_openais_errors(
        self, http: httpx.Client, change: dict[str, Any], status: int, param: str | None, stream: bool
    ) -> None:
        """Never a 5xx, whether a stream was asked for or not."""
        reply = http.post("/v1/chat/completions", json={**GREEDY, **change, "stream": stream})
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (status, param)
        assert set(error) == {"message", "type", "param", "code"}

    def test_what_is_no_request_gets_openais_errors_too(self, http: httpx.Client) -> None:
        """Bad JSON, unknown routes, wrong methods."""
        for reply, status in (
            (http.post("/v1/chat/completions", content=b"{"), 400),
            (http.post("/v1/completions", content=b"\xff\xfe"), 400),
            (http.post("/v1/embeddings", json={}), 404),
            (http.get("/nope"), 404),
            (http.get("/v1/completions"), 405),
            (http.get("/v1/models/gpt-4"), 404),
        ):
            assert reply.status_code == status
            assert set(reply.json()["error"]) == {"message", "type", "param", "code"}

    def test_openais_client_raises_its_own_exceptions(self, client: openai.OpenAI) -> None:
        """With the message and the parameter."""
        with pytest.raises(openai.NotFoundError, match="gpt-4"):
            client.chat.completions.create(**{**GREEDY, "model": "gpt-4"})
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**{**GREEDY, "temperature": -1})
        assert raised.value.param == "temperature"

    def test_the_server_is_none_the_worse(self, http: httpx.Client) -> None:
        """All slots are free afterwards."""
        health = http.get("/health").json()
        assert (health["status"], health["running"], health["free_slots"]) == ("ready", 0, health["slots"])
