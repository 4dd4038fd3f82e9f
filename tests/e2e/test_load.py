"""Many requests at once, clients that leave, a full house."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import SLOTS

pytestmark = pytest.mark.e2e

# As slow as a toy can be made: a plain greedy answer of this length may be over before anybody looks.
SLOWLY: Any = {"temperature": 1, "top_p": 0.9, "repetition_penalty": 1.1, "ignore_eos": True}
LONG: Any = {"model": "toy", "prompt": "the", "max_tokens": 8000, "draft": "none", **SLOWLY}


def health(http: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = http.get("/health").json()
    return document


def wait_for(http: httpx.Client, seconds: float = 10, **wanted: int) -> float:
    """Seconds until /health shows ``wanted``."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        state = health(http)
        if all(state[key] == value for key, value in wanted.items()):
            return time.monotonic() - began
        time.sleep(0.005)
    raise AssertionError(f"still {state} after {seconds} s")


class TestConcurrency:
    def test_eight_streams_at_once_say_what_each_says_alone(self, client: openai.OpenAI) -> None:
        """Twice as many as there are slots, with different drafts; each waits for its turn and gets its own."""
        drafts = ["general", "sql", "math", "lookup", "none", "auto", "sql", "none"]
        prompts = [f"{letter} the one" for letter in "abcdefgh"]

        def ask(prompt: str, draft: str) -> str:
            chunks = client.completions.create(
                model="toy", prompt=prompt, temperature=0, max_tokens=80, stream=True, extra_body={"draft": draft}
            )
            return "".join(chunk.choices[0].text for chunk in chunks)

        alone = [ask(prompt, "none") for prompt in prompts]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(ask, prompts, drafts))
        assert together == alone
        assert len(set(alone)) > 1


class TestLeaving:
    def test_a_stream_that_is_dropped_frees_its_slot(self, http: httpx.Client) -> None:
        """Within 100 ms, although the answer was far from its end."""
        with http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as response:
            lines = response.iter_lines()  # kept: httpx hangs up when the iterator goes
            assert '"text":' in next(lines)
            wait_for(http, running=1)
        assert wait_for(http, running=0, free_slots=SLOTS) < 0.1

    def test_a_client_that_waits_for_the_whole_answer_may_leave_too(self, http: httpx.Client, url: str) -> None:
        """Nothing is written to it before the end, so its leaving must be noticed otherwise."""
        body = json.dumps(LONG).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as connection:
            connection.sendall(head.encode() + body)
            wait_for(http, running=1)
        assert wait_for(http, running=0, free_slots=SLOTS) < 0.1

    def test_one_that_leaves_the_queue_is_never_started(self, http: httpx.Client) -> None:
        """It gives up its waiting place."""
        with contextlib.ExitStack() as stack:
            for _ in range(SLOTS):
                stack.enter_context(http.stream("POST", "/v1/completions", json={**LONG, "stream": True}))
            with http.stream("POST", "/v1/completions", json={**LONG, "stream": True}):
                wait_for(http, running=SLOTS, waiting=1)
            assert wait_for(http, waiting=0) < 0.5
        wait_for(http, running=0, free_slots=SLOTS)


class TestFullHouse:
    def test_beyond_the_queue_limit_requests_are_sent_away(self, http: httpx.Client, url: str) -> None:
        """With 429 and when to come back; those inside are not disturbed."""
        with contextlib.ExitStack() as stack:
            crowd = stack.enter_context(httpx.Client(base_url=url, timeout=30, limits=httpx.Limits()))
            for _ in range(SLOTS + 8):
                stack.enter_context(crowd.stream("POST", "/v1/completions", json={**LONG, "stream": True}))
            wait_for(http, running=SLOTS, waiting=8, free_slots=0)
            reply = http.post("/v1/completions", json=LONG)
            assert reply.status_code == 429
            assert reply.json()["error"]["code"] == "queue_full"
            assert int(reply.headers["Retry-After"]) >= 1
        wait_for(http, running=0, waiting=0, free_slots=SLOTS)
