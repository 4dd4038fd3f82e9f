"""What cannot be served is refused before anything starts: one clear line, what to do, exit code 2."""

import json
import shutil
import socket
from pathlib import Path

import pytest

import polydraft
from serving.config import Deployment
from tests.serving.toy_folder import write_model, write_tokenizer


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Serve a deployment, changed by a test, and return what was said on standard error."""

    def serve(deployment: Deployment, *words: str, **changes: object) -> str:
        document = deployment.model_dump(mode="json")
        for section, values in changes.items():
            document[section] = {**document[section], **values}  # type: ignore[dict-item]
        file = tmp_path / "deployment.yaml"
        file.write_text(json.dumps(document))
        with pytest.raises(SystemExit) as exit_:
            polydraft.main(["serve", str(file), *words])
        assert exit_.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert captured.err.startswith("error: ")
        return captured.err

    return serve


def test_a_draft_of_another_tokenizer_is_refused_with_the_first_difference(
    refusal, deployment: Deployment, toys: Path, tmp_path: Path
) -> None:
    """The message names the draft and a token that means something else there."""
    foreign = tmp_path / "foreign"
    write_tokenizer(foreign)
    file = foreign / "tokenizer.json"
    document = json.loads(file.read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(document))
    write_model(foreign)
    said = refusal(deployment, drafts={"general": {"model": str(foreign)}})
    assert "made for another tokenizer" in said.splitlines()[0]
    assert "first difference" in said
    assert "do: " in said


def test_a_damaged_checkpoint_is_named(refusal, deployment: Deployment, toys: Path, tmp_path: Path) -> None:
    """A truncated safetensors file is no traceback from deep inside."""
    damaged = tmp_path / "damaged"
    shutil.copytree(toys / "target", damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    said = refusal(deployment, "--port", "18765", target={"model": str(damaged)})
    assert str(damaged) in said


def test_a_registry_that_does_not_answer_is_named(refusal, deployment: Deployment) -> None:
    """The URI and what to check."""
    said = refusal(
        deployment,
        drafts={"general": {"model": "registry://toy-draft-general@champion"}},
        registry={"uri": "http://127.0.0.1:9"},
    )
    assert "http://127.0.0.1:9" in said.splitlines()[0]


def test_a_taken_port_is_named_with_its_process_and_another_one(refusal, deployment: Deployment) -> None:
    """Who has it, and which to take instead."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refusal(deployment, "--port", str(port))
    assert f"port {port} is taken" in said
    assert "--port" in said


def test_a_model_that_does_not_exist_is_named(refusal, deployment: Deployment, tmp_path: Path) -> None:
    """A folder that is not there."""
    assert str(tmp_path / "none") in refusal(deployment, target={"model": str(tmp_path / "none")})
