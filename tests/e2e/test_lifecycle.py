"""How servers start, refuse to start, and end; on Linux, where /proc shows what is left."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from serving.config import Deployment
from tests.e2e.processes import server

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

LONG: Any = {"model": "toy", "prompt": "the", "temperature": 0, "max_tokens": 8000, "extra_body": {"draft": "none"}}


def changed(deployment: Deployment, **sections: Any) -> Deployment:
    """The deployment with some keys of some sections replaced."""
    document = deployment.model_dump()
    for name, keys in sections.items():
        document[name] = {**document[name], **keys} if isinstance(document[name], dict) else keys
    return Deployment.model_validate(document)


def refused(deployment: Deployment, folder: Path, port: int = 0) -> str:
    """What a server that cannot start says; it must end with code 2 and leave nothing."""
    with server(deployment, folder, port, ready=False) as failing:
        assert failing.process.wait(120) == 2
        assert failing.wait_gone() == {}
        return failing.log.read_text()


class TestEnding:
    def test_sigterm_finishes_what_runs_and_leaves_nothing(self, deployment: Deployment, tmp_path: Path) -> None:
        """The stream is complete, the exit code 0; a second server cannot take the port meanwhile."""
        with server(deployment, tmp_path) as running:
            said = refused(deployment, tmp_path / "second", running.port)
            assert f"error: port {running.port} is taken by process " in said
            assert said.count("\n") == 1
            body = {**LONG, "max_tokens": 1500, "stream": True}  # long enough to be running when the signal comes
            with httpx.stream("POST", f"{running.url}/v1/completions", json=body, timeout=60) as response:
                lines = (line for line in response.iter_lines() if line)
                next(lines)
                running.signal(signal.SIGTERM)
                rest = list(lines)
            assert rest[-1] == "data: [DONE]"
            assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
            assert running.process.wait(30) == 0
            assert running.wait_gone() == {}
            assert running.log.read_text() == ""

    def test_an_interrupt_is_quiet(self, deployment: Deployment, tmp_path: Path) -> None:
        """Exit code 0, nothing said, nothing left."""
        with server(deployment, tmp_path) as running:
            running.signal(signal.SIGINT)
            assert running.process.wait(30) == 0
            assert running.wait_gone() == {}
            assert running.log.read_text() == ""

    def test_a_killed_main_process_leaves_nothing_behind(self, deployment: Deployment, tmp_path: Path) -> None:
        """The others notice that it is gone."""
        with server(deployment, tmp_path) as running:
            running.signal(signal.SIGKILL)
            running.process.wait(10)
            assert running.wait_gone() == {}


class TestRefusing:
    def test_a_damaged_checkpoint_is_one_line(self, deployment: Deployment, toys: Path, tmp_path: Path) -> None:
        """It is found in the worker and told by the main process, without a traceback."""
        shutil.copytree(toys / "target", tmp_path / "bad")
        (tmp_path / "bad" / "model.safetensors").write_bytes(b"nonsense")
        said = refused(changed(deployment, target={"model": str(tmp_path / "bad")}), tmp_path)
        assert said.startswith("error: ")
        assert "model.safetensors is missing or damaged" in said
        assert "Traceback" not in said


class TestGuards:
    def test_keys_and_the_deadline(self, deployment: Deployment, tmp_path: Path) -> None:
        """401 without a key, 504 at the deadline, as an error in a stream."""
        (tmp_path / "keys").write_text("first\nsecond\n")
        guards = {"api_keys_file": str(tmp_path / "keys"), "deadline_seconds": 0.1}
        with server(changed(deployment, serving=guards), tmp_path) as running:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "first"}):
                reply = httpx.get(f"{running.url}/v1/models", headers=headers)
                assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
                assert httpx.post(f"{running.url}/v1/completions", headers=headers, json=LONG).status_code == 401
            with openai.OpenAI(base_url=f"{running.url}/v1", api_key="second", max_retries=0) as client:
                with pytest.raises(openai.APIStatusError) as raised:
                    client.completions.create(**LONG)
                assert raised.value.status_code == 504
                with pytest.raises(openai.APIError, match="no answer within"):
                    list(client.completions.create(**LONG, stream=True))
