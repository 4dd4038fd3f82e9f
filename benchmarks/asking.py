"""A client that sees token ids: what `polydraft selfcheck URL` and `polydraft bench soak` ask a server with."""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from configs.errors import ServerError
from serving.wire import NONE

KEY_VARIABLE = "POLYDRAFT_API_KEY"
_DRAFTS = re.compile(r'^polydraft_draft_version_info\{[^}]*draft="([^"]+)"', re.MULTILINE)
_MOST_TRIES = 120


@dataclass(frozen=True, slots=True)
class Question:
    """One request. ``seed`` draws at temperature 1; None is greedy. A check is no traffic to learn from by itself."""

    prompt: str
    tokens: int
    draft: str = NONE
    length: int | None = None  # of proposals
    seed: int | None = None
    may_trace: bool = False

    def body(self) -> dict[str, Any]:
        """Without the prompt's place and the model's name."""
        sampling = {"temperature": 0} if self.seed is None else {"temperature": 1, "seed": self.seed}
        length = {} if self.length is None else {"num_draft_tokens": self.length}
        extras = {"polydraft": {"tokens": True, "trace": self.may_trace}}
        return {"max_tokens": self.tokens, "stream": True, "draft": self.draft, **sampling, **length, **extras}


@dataclass
class Answer:
    """Token ids as they came; whole unless the client left."""

    token_ids: list[int] = field(default_factory=list)
    runs: int = 0
    draft: str = ""  # with its version
    num_drafted: int = 0
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A server as its client knows it."""

    client: httpx.AsyncClient
    model: str
    drafts: tuple[str, ...]
    has_chat: bool

    def request(self, question: Question) -> tuple[str, dict[str, Any]]:
        """Path and body."""
        if self.has_chat:
            asked = {"messages": [{"role": "user", "content": question.prompt}]}
            return "/v1/chat/completions", {"model": self.model, **asked, **question.body()}
        return "/v1/completions", {"model": self.model, "prompt": question.prompt, **question.body()}

    async def ask(self, question: Question, leave_after: int | None = None) -> Answer:
        """The answer; after ``leave_after`` tokens the client hangs up. A full server is asked again.

        Raises:
            ServerError: the server cannot be reached, refuses, or fails.
        """
        path, body = self.request(question)
        for _ in range(_MOST_TRIES):
            try:
                async with self.client.stream("POST", path, json=body) as response:
                    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                        await asyncio.sleep(float(response.headers["Retry-After"]))
                        continue
                    await _check(response)
                    return await _read(response, leave_after)
            except httpx.HTTPError as error:
                raise ServerError(f"{self.client.base_url} does not answer: {error!r}") from error
        raise ServerError(f"{self.client.base_url} has been full all the time", do="ask when it is less busy")

    async def gap_at(self, question: Question, position: int) -> float | None:
        """Top-two gap, in logits, of the target alone at a token of its greedy answer."""
        path, body = self.request(Question(question.prompt, position + 1))
        wanted: dict[str, Any] = {"logprobs": True, "top_logprobs": 2} if self.has_chat else {"logprobs": 2}
        response = await self.client.post(path, json={**body, **wanted, "stream": False})
        await _check(response)
        logprobs = response.json()["choices"][0]["logprobs"]
        if self.has_chat:
            places = [[each["logprob"] for each in place["top_logprobs"]] for place in logprobs["content"]]
        else:
            places = [list(place.values()) for place in logprobs["top_logprobs"]]
        if position >= len(places) or len(places[position]) < 2:
            return None  # an end token is not shown
        best, second, *_ = sorted(places[position], reverse=True)
        return float(best - second)


async def meet(client: httpx.AsyncClient) -> Asked:
    """Ask a server who it is.

    Raises:
        ServerError: it cannot be reached, is not ready, or wants another key.
    """
    try:
        health = await client.get("/health")
        if health.status_code != httpx.codes.OK:
            raise ServerError(f"{client.base_url} is not ready: {'; '.join(health.json()['reasons'])}")
        models, metrics = await client.get("/v1/models"), await client.get("/metrics")
        for response in (models, metrics):
            await _check(response)
        model = models.json()["data"][0]["id"]
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        chat = await client.post("/v1/chat/completions", json=body)
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError) as error:
        what = f"no polydraft server answers at {client.base_url} ({type(error).__name__})"
        raise ServerError(what, do="polydraft serve, or name another URL") from error
    drafts = tuple(dict.fromkeys(_DRAFTS.findall(metrics.text)))
    return Asked(client, model, drafts, chat.status_code != httpx.codes.BAD_REQUEST)


def client_of(url: str) -> httpx.AsyncClient:
    """A bare client; the key comes from the environment."""
    key = os.environ.get(KEY_VARIABLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url.rstrip("/"), headers=headers, timeout=300, limits=limits)


async def _check(response: httpx.Response) -> None:
    if response.status_code == httpx.codes.OK:
        return
    said = (await response.aread()).decode(errors="replace")
    do = f"set {KEY_VARIABLE} to a key of this server" if response.status_code == httpx.codes.UNAUTHORIZED else ""
    raise ServerError(f"the server answered {response.status_code}", do=do, facts=(said[:500],))


async def _read(response: httpx.Response, leave_after: int | None) -> Answer:
    answer = Answer()
    async for line in response.aiter_lines():
        if not line.startswith("data: {"):
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise ServerError(chunk["error"]["message"])
        _take(answer, chunk.get("polydraft") or {})
        if leave_after is not None and len(answer.token_ids) >= leave_after and not answer.is_whole:
            return answer
    if not answer.is_whole:
        raise ServerError("a stream ended before its answer did")
    return answer


def _take(answer: Answer, extras: Mapping[str, Any]) -> None:
    if "run" in extras:
        answer.token_ids += [token["id"] for token in extras["tokens"]]
    elif "num_target_runs" in extras:
        answer.runs, answer.draft = extras["num_target_runs"], extras["draft"]
        answer.num_drafted, answer.is_whole = extras["num_draft_tokens"], True
