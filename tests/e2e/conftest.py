"""A real server on toy models: a target and three drafts that know nothing, shared by all tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from serving.client import running_server
from serving.config import Deployment
from serving.section import ServingSection, TargetSection
from tests.serving.toy_folder import toy_drafts, write_toys

SLOTS = 4


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders target, general, sql (a perfect draft: the target itself) and math."""
    return write_toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="session")
def deployment(toys: Path) -> Deployment:
    """A deployment of the toys, without a router."""
    return Deployment.model_validate(
        {
            "name": "toy",
            "target": TargetSection(model=str(toys / "target"), slots=SLOTS, max_length=8192),
            "drafts": toy_drafts(toys),
            "decoding": {"num_draft_tokens": 4},  # not auto: no test may depend on what this machine measures
            "router": None,
            "serving": ServingSection(max_queue=8, deadline_seconds=60),
        }
    )


@pytest.fixture(scope="session")
def url(deployment: Deployment) -> Iterator[str]:
    """A running server."""
    with running_server(deployment) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    """A plain client of the server."""
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client of the server."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as openai_client:
        yield openai_client
