from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry.location import locate
from registry.section import RegistrySection


def test_local_is_an_absolute_file_in_the_data_directory(empty_home: Path) -> None:
    """The default needs no configuration and does not depend on the working directory."""
    location = locate(RegistrySection())
    assert location.sqlite_file == empty_home / "registry" / "mlflow.db"
    assert location.artifact_root == (empty_home / "registry" / "artifacts").as_uri()
    assert not location.is_server


def test_a_server_decides_where_files_go(empty_home: Path) -> None:
    """Behind HTTP there is no artifact root, and state stays in the data directory."""
    location = locate(RegistrySection(uri="https://mlflow.example/registry/"))
    assert location.is_server
    assert location.tracking_uri == "https://mlflow.example/registry"
    assert location.artifact_root is None
    assert location.state.is_relative_to(empty_home)


def test_files_lie_beside_an_sqlite_file() -> None:
    """Another SQLite file keeps its versions beside it."""
    assert locate(RegistrySection(uri="sqlite:////srv/runs.db")).artifact_root == "file:///srv/artifacts"


@pytest.mark.parametrize("uri", ["lokal", "ftp://host", "sqlite:///relative.db", "sqlite://"])
def test_other_uris_are_refused_with_a_remedy(uri: str) -> None:
    """Whatever MLflow would misread as a folder is refused."""
    with pytest.raises(RegistryError) as caught:
        locate(RegistrySection(uri=uri))
    assert caught.value.do


def test_a_database_needs_a_place_for_files() -> None:
    """Without one, MLflow would write into the working directory."""
    uri = "postgresql://user:secret@db/mlflow"
    with pytest.raises(RegistryError, match="artifacts"):
        locate(RegistrySection(uri=uri))
    assert locate(RegistrySection(uri=uri, artifacts="s3://bucket/x")).artifact_root == "s3://bucket/x"


def test_passwords_are_not_shown() -> None:
    """Errors print the URI without its password."""
    section = RegistrySection(uri="postgresql://user:secret@db:5432/mlflow", artifacts="/srv/files")
    assert locate(section).shown == "postgresql://user:***@db:5432/mlflow"
