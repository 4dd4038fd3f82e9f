"""A sample of `python -m tests.e2e.fuzz`, and that it would notice what must not be."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.client import running_server
from tests.e2e.fuzz import complaints, fuzz_deployment, is_well, play_bodies, play_cases

pytestmark = pytest.mark.e2e

ERROR = json.dumps({"error": {"message": "no", "type": "server_error", "param": None, "code": None}}).encode()
JSON, EVENTS = {"content-type": "application/json"}, {"content-type": "text/event-stream"}


@pytest.fixture(scope="module")
def fuzzed(toys: Path) -> Iterator[str]:
    with running_server(fuzz_deployment(toys)) as url:
        yield url


def test_requests_made_of_the_description_get_an_answer_or_openais_error(fuzzed: str) -> None:
    """Both kinds come: what fits the description is answered, what does not is refused."""
    found = play_cases(fuzzed, 48)
    assert not found.wrong
    assert min(found.codes[200], found.codes[400]) > 5
    assert is_well(fuzzed)


def test_random_bodies_get_an_answer_or_openais_error(fuzzed: str) -> None:
    """Noise, and valid bodies with a few bytes changed."""
    found = asyncio.run(play_bodies(fuzzed, 300, number=1))
    assert not found.wrong
    assert sum(found.codes.values()) == 300
    assert min(found.codes[200], found.codes[400]) > 5
    assert is_well(fuzzed)


@pytest.mark.parametrize(
    ("code", "headers", "body", "is_fine"),
    [
        (200, JSON, b"{}", True),
        (400, JSON, ERROR, True),
        (400, JSON, b'{"detail": "no"}', False),
        (400, JSON, b"no", False),
        (500, JSON, ERROR, False),
        (200, EVENTS, b'data: {"choices": []}\n\ndata: [DONE]\n\n', True),
        (200, EVENTS, b'data: {"choices": []}\n\n', False),
        (200, EVENTS, b"data: " + ERROR + b"\n\ndata: [DONE]\n\n", False),
    ],
)
def test_what_must_not_be_is_noticed(code: int, headers: dict[str, str], body: bytes, is_fine: bool) -> None:
    """Negative control."""
    assert bool(complaints(code, headers, body)) is not is_fine
