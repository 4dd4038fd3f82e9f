"""The files of a version on this machine: where they lie, or a download that is whole or not there."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from configs.errors import RegistryError
from registry.content import content_digest
from registry.location import Location
from registry.locks import exclusive


class Folders:
    """Where the files of versions are or will be; versions never move, so each is asked for once."""

    def __init__(self, client: Any, location: Location):
        self.client = client
        self.location = location
        self.known: dict[tuple[str, int], Path] = {}

    def expected(self, entity: Any) -> Path:
        """Where `present` finds or puts the files of a version; asks a server nothing."""
        key = (str(entity.name), int(entity.version))
        if key not in self.known:
            self.known[key] = self._place(*key)
        return self.known[key]

    def present(self, entity: Any) -> Path:
        """The folder with the files of a version, downloaded if they are not on this machine.

        Raises:
            RegistryError: the files are gone, or arrived damaged.
        """
        folder = self.expected(entity)
        if folder.is_dir():
            return folder
        if not folder.is_relative_to(self.location.state / "versions"):
            raise RegistryError(
                f"the files of {entity.name} v{entity.version} are gone",
                do="restore them, or promote another version",
                facts=(f"expected in {folder}",),
            )
        with exclusive(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _download(self.location, entity, folder)
        return folder

    def _place(self, model: str, version: int) -> Path:
        if (
            model in ("", "..") or Path(model).name != model
        ):  # MLflow allows no such name; what answers need not be MLflow
            raise RegistryError(f"{model!r} is no name of a model: it would lead to another folder")
        downloaded = self.location.state / "versions" / model / f"v{version}"
        if self.location.is_server:
            return downloaded
        parts = urlsplit(self.client.get_model_version_download_uri(model, str(version)))
        return Path(unquote(parts.path)) if parts.scheme in ("", "file") else downloaded


def _download(location: Location, entity: Any, folder: Path) -> None:
    from mlflow.artifacts import download_artifacts

    arriving = folder.with_suffix(".new")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(parents=True)
    uri = f"models:/{entity.name}/{entity.version}"
    download_artifacts(artifact_uri=uri, dst_path=str(arriving), tracking_uri=location.tracking_uri)
    digest = entity.tags.get("content")
    if digest is not None and content_digest(arriving) != digest:
        shutil.rmtree(arriving)
        raise RegistryError(
            f"the files of {entity.name} v{entity.version} do not match their digest",
            do="try again; if it stays, the store behind the registry is damaged: promote another version",
        )
    arriving.rename(folder)
