from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.artifacts
import pytest

from configs.errors import RegistryError
from registry.content import content_digest
from registry.fetch import Folders
from registry.location import Location
from tests.registry.conftest import MakeFolder


@pytest.fixture
def remote(tmp_path: Path) -> Location:
    """A registry behind HTTP that nobody asks."""
    return Location("http://registry", None, tmp_path / "state", 1.0)


def _downloads(monkeypatch: pytest.MonkeyPatch, weights: str) -> list[str]:
    """Make every download deliver ``weights``; returns what was asked for."""
    asked: list[str] = []

    def download(artifact_uri: str, dst_path: str, tracking_uri: str) -> None:
        asked.append(artifact_uri)
        Path(dst_path, "config.json").write_text("{}")
        Path(dst_path, "model.safetensors").write_text(weights)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    return asked


def _entity(folder: Path) -> Any:
    return SimpleNamespace(name="a-draft-sql", version="3", tags={"content": content_digest(folder)})


def test_a_version_is_downloaded_once(
    remote: Location, monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder
) -> None:
    """The second use finds the files of the first, where they were expected."""
    asked = _downloads(monkeypatch, "weights")
    entity = _entity(make_folder("weights"))
    assert {Folders(None, remote).present(entity) for _ in range(2)} == {Folders(None, remote).expected(entity)}
    assert asked == ["models:/a-draft-sql/3"]


def test_a_damaged_download_is_refused(
    remote: Location, monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder
) -> None:
    """Files that do not match the digest of their version are never used."""
    _downloads(monkeypatch, "dama")
    entity = _entity(make_folder("weights"))
    with pytest.raises(RegistryError, match="do not match"):
        Folders(None, remote).present(entity)
    assert not Folders(None, remote).expected(entity).exists()


def test_what_a_killed_download_left_is_not_used(
    remote: Location, monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder
) -> None:
    """Half a download is thrown away, and nothing of it mixes with the next."""
    entity = _entity(make_folder("weights"))
    half = Folders(None, remote).expected(entity).with_suffix(".new")
    half.mkdir(parents=True)
    (half / "half.safetensors").write_text("")
    _downloads(monkeypatch, "weights")
    names = sorted(file.name for file in Folders(None, remote).present(entity).iterdir())
    assert names == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["../other", "a/b", "/etc", "..", ""])
def test_a_name_cannot_lead_to_another_folder(remote: Location, name: str) -> None:
    """Whatever answers as a registry."""
    with pytest.raises(RegistryError, match="is no name of a model"):
        Folders(None, remote).present(SimpleNamespace(name=name, version="1", tags={}))
