"""Toy models made once, a migrated registry copied for every test, one thread."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
import torch

from decoding.trace import SpeculationTrace
from registry.database import prepare_database
from registry.names import CHAMPION
from registry.section import RegistrySection
from registry.store import Registry
from tests.databases import hurry
from tests.training.online.streams import MODEL, stream, write_models


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a target and of a draft that does not know it."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def traces(models: tuple[Path, Path]) -> list[SpeculationTrace]:
    """130 answers of the target, enough for an update and a verdict."""
    return stream(*models, 130)


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database, to be copied."""
    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    file = tmp_path_factory.mktemp("template") / "mlflow.db"
    prepare_database(file)
    return file


@pytest.fixture
def registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template_database: Path, models: tuple[Path, Path]
) -> Registry:
    """The local registry; the draft is champion v1 in it."""
    home = tmp_path / "home"
    monkeypatch.setenv("POLYDRAFT_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (home / "registry").mkdir(parents=True)
    shutil.copy(template_database, home / "registry" / "mlflow.db")
    registry = Registry.open(RegistrySection())
    registry.register(MODEL, models[1], {"topic": "sql"}, alias=CHAMPION)
    return registry
