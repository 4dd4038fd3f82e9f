"""A toy deployment in a file, and a few prompts."""

import json
import shutil
from pathlib import Path

import pytest

from serving.config import Deployment
from tests.serving.toy_folder import write_model, write_toy


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Target, general draft, a perfect sql draft, a poor math draft; no router."""
    folder = tmp_path_factory.mktemp("toys")
    write_toy(folder / "target")
    for seed, name in enumerate(("general", "math"), start=1):
        shutil.copytree(folder / "target", folder / name)
        write_model(folder / name, seed, layers=1)
    shutil.copytree(folder / "target", folder / "sql")
    deployment = Deployment.model_validate(
        {
            "name": "toy",
            "target": {"model": str(folder / "target"), "slots": 8, "max_length": 512},
            "drafts": {
                "general": {"model": str(folder / "general")},
                "topics": {name: {"model": str(folder / name)} for name in ("sql", "math")},
            },
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
