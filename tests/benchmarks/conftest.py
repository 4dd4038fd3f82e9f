"""A toy deployment in a file, and a few prompts."""

import json
from pathlib import Path

import pytest

from serving.config import Deployment
from tests.serving.toy_folder import toy_drafts, write_toys


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Target, general draft, a perfect sql draft, a poor math draft; no router."""
    folder = write_toys(tmp_path_factory.mktemp("toys"))
    deployment = Deployment.model_validate(
        {
            "name": "toy",
            "target": {"model": str(folder / "target"), "slots": 8, "max_length": 512},
            "drafts": toy_drafts(folder),
            "decoding": {"num_draft_tokens": 4},  # not auto: no test may depend on what this machine measures
            "router": None,
        }
    )
    file = folder / "toy.yaml"
    file.write_text(deployment.to_yaml())
    return file


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Two prompts of each topic, one of them of the training split."""
    lines = [
        {"topic": topic, "prompt": f"{topic} {number}", "split": "train" if number == 9 else "validation"}
        for number in (1, 2, 9)
        for topic in ("sql", "math")
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file
