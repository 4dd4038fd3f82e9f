"""`python -m tests.e2e.fuzz`: generated and random requests to a real server on toy models.

Whatever arrives, there is no 5xx, no hang, and every error has OpenAI's shape, within streams too.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from requests.exceptions import Timeout
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.client import running_server
from serving.config import Deployment
from tests.serving.toy_folder import toy_drafts, write_toys

LONGEST_SECONDS = 30.0  # beyond it a request hangs
GENERATING = ("/v1/chat/completions", "/v1/completions")
_ERROR_KEYS = {"message", "type", "param", "code"}
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_AT_ONCE = 8
_MOST_KEPT = 20


@dataclass
class Findings:
    """What came back."""

    codes: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # the first few
    num_wrong: int = 0
    slowest: float = 0.0  # seconds

    def blame(self, what: str) -> None:
        """Something must not be so."""
        self.num_wrong += 1
        if len(self.wrong) < _MOST_KEPT:
            self.wrong.append(what[:600])

    def answered(self, code: int, seconds: float) -> None:
        """A response came."""
        self.codes[code] += 1
        self.slowest = max(self.slowest, seconds)


def fuzz_deployment(folder: Path) -> Deployment:
    """Toys with short answers: what is generated asks for a million tokens without blushing."""
    return Deployment.model_validate(
        {
            "name": "toy",
            "target": {"model": str(folder / "target"), "slots": 4, "max_length": 96},
            "drafts": toy_drafts(folder),
            "decoding": {"num_draft_tokens": 4},
            "router": None,
            "serving": {"max_queue": 16, "max_tokens": 8, "deadline_seconds": 20},
        }
    )


def play_cases(url: str, cases: int, number: int = 0) -> Findings:
    """Requests that schemathesis makes of our OpenAPI description: half of them fit it, the others nearly do.

    Args:
        cases: of the routes that generate; others get a few more.
        number: of the seed.
    """
    found = Findings()
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/openapi.json", timeout=LONGEST_SECONDS).json())
    schema.config.max_stream_events = 10_000  # else it leaves long streams before their end
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in GENERATING:
            _play(url, operation, GenerationMode.POSITIVE, cases // 4, number, found)
            _play(url, operation, GenerationMode.NEGATIVE, cases // 4, number, found)
        else:
            _play(url, operation, GenerationMode.POSITIVE, max(1, cases // 40), number, found)
    return found


def _play(url: str, operation: Any, mode: GenerationMode, count: int, number: int, found: Findings) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        began = time.perf_counter()
        try:
            response = case.call(base_url=url, timeout=LONGEST_SECONDS)
        except Timeout:
            found.blame(f"no answer: {case.as_curl_command()}")
            return
        found.answered(response.status_code, time.perf_counter() - began)
        try:
            case.validate_response(response, checks=_CHECKS)
        except (Failure, FailureGroup) as failure:
            found.blame(str(failure))
        for complaint in complaints(response.status_code, response.headers, response.content):
            found.blame(f"{complaint}: {case.as_curl_command()}")

    ask()


def complaints(code: int, headers: Any, body: bytes) -> list[str]:
    """What is wrong with a response."""
    kind = str(headers.get("content-type", ""))
    if "event-stream" in kind:
        return _complaints_of_stream(body)
    wrong = [f"status {code}"] if code >= 500 else []
    return wrong if code < 400 or _is_error(body) else [*wrong, f"status {code} without OpenAI's error: {body[:200]!r}"]


def _complaints_of_stream(body: bytes) -> list[str]:
    lines = [line for line in body.split(b"\n\n") if line]
    if not lines or lines[-1] != b"data: [DONE]":
        return [f"a stream without end: {body[-200:]!r}"]
    events = [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]
    return [f"a stream failed: {event}" for event in events if "error" in event]


def _is_error(body: bytes) -> bool:
    try:
        return set(json.loads(body)["error"]) == _ERROR_KEYS
    except (ValueError, KeyError, TypeError):
        return False


def random_body(draws: random.Random) -> bytes:
    """Noise, or a valid body that something happened to."""
    if draws.random() < 0.25:
        return draws.randbytes(draws.choice((0, 1, 7, 100, 4000)))
    chat: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "the one"}], "max_tokens": 4}
    plain: dict[str, Any] = {"model": "toy", "prompt": "the one", "max_tokens": 4}
    body = bytearray(json.dumps({**draws.choice((chat, plain)), **_extra(draws)}).encode())
    for _ in range(draws.choice((0, 0, 1, 1, 2, 8))):
        start = draws.randrange(len(body) + 1)
        end = min(len(body), start + draws.choice((0, 1, 1, 5, 40)))
        body[start:end] = draws.choice(
            (b"", draws.randbytes(draws.randint(1, 3)), *_SPLICES, bytes(body[:start][-draws.randint(1, 30) :]))
        )
        if not body:
            break
    return bytes(body)


_SPLICES = (
    *(b"[" * 2000, b'{"a":' * 300, b"9" * 5000, b"\xff\xfe", b"\x00"),
    *(b"null", b"-1", b"1e999", b"NaN", b'"\\ud800"', b","),
)
_FIELDS = (
    *("temperature", "top_p", "seed", "stop", "n", "draft"),
    *("logit_bias", "stream", "polydraft", "lossy", "logprobs"),
)


def _extra(draws: random.Random) -> dict[str, Any]:
    values: tuple[Any, ...] = (0, 1, -1, 2.5, True, None, "", "the", [], ["a"], {}, {"tokens": True}, {"5": 1}, 10**30)
    return {name: draws.choice(values) for name in draws.sample(_FIELDS, draws.choice((0, 0, 1, 3)))}


async def play_bodies(url: str, bodies: int, number: int = 0) -> Findings:
    """Random bytes to the generating routes, several clients at once."""
    found, draws = Findings(), random.Random(number)
    queue = iter([(draws.choice(GENERATING), random_body(draws)) for _ in range(bodies)])
    async with httpx.AsyncClient(base_url=url, timeout=LONGEST_SECONDS) as client:

        async def one() -> None:
            for path, body in queue:
                await _send(client, path, body, found)

        await asyncio.gather(*(one() for _ in range(_AT_ONCE)))
    return found


async def _send(client: httpx.AsyncClient, path: str, body: bytes, found: Findings) -> None:
    began = time.perf_counter()
    try:
        response = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    except httpx.HTTPError as error:
        found.blame(f"{type(error).__name__}: {path} {body[:200]!r}")
        return
    found.answered(response.status_code, time.perf_counter() - began)
    for complaint in complaints(response.status_code, response.headers, response.content):
        found.blame(f"{complaint}: {path} {body[:200]!r}")


def is_well(url: str) -> bool:
    """Nothing is left running, and a request is answered."""
    for _ in range(50):
        health = httpx.get(f"{url}/health", timeout=LONGEST_SECONDS).json()
        if not health["running"] and not health["waiting"]:
            break
        time.sleep(0.1)
    body = {"model": "toy", "prompt": "the", "max_tokens": 4}
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=LONGEST_SECONDS)
    return answer.status_code == 200 and health["status"] == "ready" and not health["running"]


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was found, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="requests made of the OpenAPI description")
    parser.add_argument("--bodies", type=int, default=10_000, help="bodies of random bytes")
    parser.add_argument("--seed", type=int, default=0)
    given_ = parser.parse_args(words)
    with (
        tempfile.TemporaryDirectory(prefix="polydraft-") as place,
        running_server(fuzz_deployment(write_toys(Path(place)))) as url,
    ):
        parts = {
            "cases": play_cases(url, given_.cases, given_.seed),
            "bodies": asyncio.run(play_bodies(url, given_.bodies, given_.seed)),
        }
        well = is_well(url)
    for name, found in parts.items():
        print(f"{name}: {sum(found.codes.values())} answered, {dict(sorted(found.codes.items()))}, ", end="")  # noqa: T201
        print(f"slowest {found.slowest:.2f} s, wrong: {found.num_wrong}")  # noqa: T201
        for each in found.wrong:
            print(f"  {each}")  # noqa: T201
    print("the server is well afterwards" if well else "THE SERVER IS NOT WELL")  # noqa: T201
    return 0 if well and not any(found.num_wrong for found in parts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
