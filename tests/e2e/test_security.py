"""What a stranger may do with a server, and what its log says about those who use it."""

import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from decoding.trace_reader import TraceReader
from serving.config import Deployment
from serving.endpoints import MAX_BODY_BYTES
from serving.section import KEYS_VARIABLE
from serving.text import TextCodec
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import changed, refused

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

MARKER, SECRET = "zebra crossing", "kept to myself"
KEY = {"Authorization": "Bearer first"}
GUARDED = ("/v1/models", "/v1/models/toy", "/metrics", "/live.json")
GONE = ("/litserve/health", "/litserve/info", "/docs", "/redoc", "/shutdown", "/info")
OUTSIDE = (
    "/live/..%2f..%2fserver.py",
    "/live/%2e%2e/routes.py",
    "/live//etc/passwd",
    "/v1/models/..%2f..%2fetc%2fpasswd",
)


@pytest.fixture(scope="module")
def closed(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory):
    """A server with keys and traces; what it has logged is looked at in the end."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "keys").write_text("first\nsecond\n")
    traces = {"enabled": True, "folder": str(folder / "traces"), "segment_seconds": 0.01, "redact": [SECRET]}
    guarded = changed(deployment, serving={"api_keys_file": str(folder / "keys")}, traces=traces)
    with server(guarded, folder) as running:
        yield running


def say(running: Server, prompt: Any, **fields: Any) -> httpx.Response:
    body = {"model": "toy", "prompt": prompt, "temperature": 0, "max_tokens": 8, "ignore_eos": True, **fields}
    return httpx.post(f"{running.url}/v1/completions", json=body, headers=KEY, timeout=60)


@pytest.mark.parametrize("path", GUARDED)
def test_what_shows_something_asks_for_a_key(closed: Server, path: str) -> None:
    """Also with another scheme, an empty key, or one that is nearly right."""
    for given in ({}, {"Authorization": "Bearer"}, {"Authorization": "Basic first"}, {"Authorization": "Bearer firs"}):
        reply = httpx.get(closed.url + path, headers=given)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.get(closed.url + path, headers=KEY).status_code == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_nobody_answers_a_stranger(closed: Server, path: str) -> None:
    """Before the body is looked at."""
    assert httpx.post(closed.url + path, content=b"{").status_code == 401
    assert httpx.post(closed.url + path, content=b"{", headers=KEY).status_code == 400


def test_health_is_open_but_tells_strangers_no_words_out_of_prompts(closed: Server) -> None:
    """Proposals of new topics are made of such words."""
    open_, full = (httpx.get(f"{closed.url}/health", headers=given).json() for given in ({}, KEY))
    assert open_["status"] == full["status"] == "ready"
    assert set(full) - set(open_) == {"topics"}


@pytest.mark.parametrize("path", GONE)
def test_routes_that_nobody_guards_are_not_there(closed: Server, path: str) -> None:
    """LitServe's own, and FastAPI's pages."""
    assert httpx.get(closed.url + path, headers=KEY).status_code == 404


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_page(closed: Server, path: str) -> None:
    reply = httpx.get(closed.url + path, headers=KEY)
    assert reply.status_code == 404
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_names_lead_to_no_file(closed: Server) -> None:
    """A draft is looked up among those that are served."""
    for name in ("../sql", "/etc/passwd", "registry://sql@v1", "sql/../math"):
        assert say(closed, "the", draft=name).json()["error"]["param"] == "draft"


def test_requests_are_as_large_as_a_deployment_allows(closed: Server) -> None:
    """Bytes and tokens, asked for and brought along."""
    assert say(closed, "x" * MAX_BODY_BYTES).status_code == 413
    assert say(closed, [5] * 9000).json()["error"]["code"] == "context_length_exceeded"
    assert say(closed, [10**9]).status_code == 400
    whole = say(closed, [5] * 8100, max_tokens=10**6).json()
    assert whole["usage"]["total_tokens"] == 8192


def test_prompts_are_in_no_log_and_what_is_redacted_in_no_trace(closed: Server) -> None:
    """However the request ends; this test comes last in its file's server."""
    assert say(closed, MARKER).status_code == 200
    assert say(closed, f"{MARKER}, {SECRET}").status_code == 200
    for fields in ({"temperature": -1}, {"draft": MARKER}, {"model": MARKER}, {"stop": [MARKER] * 9}):
        assert say(closed, MARKER, **fields).status_code in (400, 404)
    assert say(closed, MARKER * 9000).status_code == 400
    broken = httpx.post(f"{closed.url}/v1/completions", content=f'{{"prompt": "{MARKER}'.encode(), headers=KEY)
    assert broken.status_code == 400
    said = say(closed, f"the {MARKER}", max_tokens=20, stream=True)
    assert said.text.endswith("data: [DONE]\n\n")
    closed.process.terminate()
    assert closed.process.wait(60) == 0
    assert MARKER not in closed.log.read_text()
    assert "first" not in closed.log.read_text()
    folder = closed.log.parent / "traces"
    prompts = [trace.token_ids[: trace.prompt_length] for trace in TraceReader(folder)]
    assert len([prompt for prompt in prompts if len(prompt) < 30]) >= 2

    codec = TextCodec(_target(closed))
    texts = [codec.decode(prompt) for prompt in prompts]
    assert MARKER in texts
    assert not [text for text in texts if SECRET in text]


def test_keys_may_come_with_the_environment(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the platform gives secrets that way."""
    monkeypatch.setenv(KEYS_VARIABLE, "from-outside")
    with server(deployment, tmp_path) as running:
        assert httpx.get(f"{running.url}/v1/models").status_code == 401
        key = {"Authorization": "Bearer from-outside"}
        assert httpx.get(f"{running.url}/v1/models", headers=key).status_code == 200


def test_pickles_in_place_of_weights_are_refused_unread(deployment: Deployment, toys: Path, tmp_path: Path) -> None:
    """They would leave a file behind; the server says what to do and does not open them."""
    folder, trap = tmp_path / "target", tmp_path / "opened"
    shutil.copytree(toys / "target", folder)
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.pkl", "model.pth"):
        (folder / name).write_bytes(f"cos\nsystem\n(S'touch {trap}'\ntR.".encode())
    said = refused(changed(deployment, target={"model": str(folder)}), tmp_path)
    assert "pickled weights are never loaded" in said
    assert not trap.exists()


def _target(running: Server) -> str:

    document = yaml.safe_load((running.log.parent / "deployment.yaml").read_text())
    folder: str = document["target"]["model"]
    return folder
