"""A migrated database made once a session and copied for every test; a small starter; toy folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from registry.database import prepare_database
from registry.section import RegistrySection
from registry.store import Registry
from tests.databases import hurry

MakeFolder = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _no_flushes() -> None:
    """Tests survive no power cut: their databases never wait for the disk."""
    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database, to be copied."""
    file = tmp_path_factory.mktemp("template") / "mlflow.db"
    prepare_database(file)
    return file


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with nothing in it."""
    home = tmp_path / "home"
    monkeypatch.setenv("POLYDRAFT_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return home


@pytest.fixture
def home(empty_home: Path, template_database: Path) -> Path:
    """A data directory with an empty registry."""
    (empty_home / "registry").mkdir(parents=True)
    shutil.copy(template_database, empty_home / "registry" / "mlflow.db")
    return empty_home


@pytest.fixture
def registry(home: Path) -> Registry:
    """The local registry, empty."""
    return Registry.open(RegistrySection())


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Makes a folder that looks like a checkpoint, its weights being the given text."""

    def make(weights: str = "weights", name: str = "checkpoint") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text(weights)
        return folder

    return make


@pytest.fixture
def make_starter(tmp_path: Path) -> MakeFolder:
    """Makes a starter of two drafts and a router; ``weights`` and ``target`` tell one from the next."""

    def make(weights: str = "1", target: str = "aaaa") -> Path:
        folder = tmp_path / "starter"
        for topic in ("general", "sql"):
            place = folder / "drafts" / topic
            place.mkdir(parents=True, exist_ok=True)
            (place / "config.json").write_text("{}")
            (place / "model.safetensors").write_text(topic + weights)
        (folder / "router").mkdir(exist_ok=True)
        (folder / "router" / "router.json").write_text("{}")
        figures = {"alpha": "0.88", "tokens_per_target_run": "3.9", "acceptance_by_position": "0.88 0.77"}
        manifest = {
            "format": 1,
            "name": "starter",
            "topics": ["sql"],
            "target": "target",
            "router": "router",
            "drafts": {"general": "drafts/general", "sql": "drafts/sql"},
            "tags": {"general": {"target": target}, "sql": {"target": target, **figures}},
        }
        (folder / "starter.json").write_text(json.dumps(manifest))
        return folder

    return make
