"""From ``registry.uri`` to the places that MLflow and the locks need."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from configs.errors import RegistryError
from registry.home import data_directory
from registry.section import RegistrySection

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Location:
    """Where a registry is.

    ``artifact_root`` is None where a server decides. ``state`` is a folder on this machine for locks
    and downloads, shared by all processes that use the same registry.
    """

    tracking_uri: str
    artifact_root: str | None
    state: Path
    timeout_seconds: float

    @property
    def is_server(self) -> bool:
        """True behind HTTP: files come by download, and others may write at the same time."""
        return self.tracking_uri.startswith(("http://", "https://"))

    @property
    def sqlite_file(self) -> Path | None:
        """The database file, where there is one."""
        return Path(self.tracking_uri.removeprefix(_SQLITE)) if self.tracking_uri.startswith(_SQLITE) else None

    @property
    def shown(self) -> str:
        """The URI as people may see it: without a password."""
        parts = urlsplit(self.tracking_uri)
        if parts.password is None:
            return self.tracking_uri
        return urlunsplit(parts._replace(netloc=re.sub(r":[^:@]*@", ":***@", parts.netloc)))


def locate(section: RegistrySection) -> Location:
    """Resolve ``uri`` and ``artifacts``; touches no file and no network.

    Raises:
        RegistryError: a kind of URI that MLflow does not know, or a database without a place for files.
    """
    home = data_directory() / "registry"
    if section.uri == "local":
        place = _root(section.artifacts, beside=home)
        return Location(f"{_SQLITE}{home / 'mlflow.db'}", place, home, section.timeout_seconds)
    uri, root = _checked(section)
    state = home / "elsewhere" / hashlib.sha256(uri.encode()).hexdigest()[:16]
    return Location(uri, root, state, section.timeout_seconds)


def _checked(section: RegistrySection) -> tuple[str, str | None]:
    scheme, separator, _ = section.uri.partition("://")
    if not separator:
        raise RegistryError(
            f"registry.uri {section.uri!r} is not a registry",
            do="use local, http://HOST:PORT of an MLflow server, or sqlite:////ABSOLUTE/FILE.db",
        )
    if scheme in ("http", "https"):
        return section.uri.rstrip("/"), None
    if scheme == "sqlite":
        return _sqlite(section)
    if scheme.split("+")[0] not in ("postgresql", "mysql", "mssql"):
        raise RegistryError(
            f"registry.uri begins with {scheme}://, which is no registry",
            do="use local, http(s)://, sqlite://// or postgresql://",
        )
    if section.artifacts == "auto":
        raise RegistryError(
            "registry.artifacts is needed with a database: it says where the files of versions go",
            do="set registry.artifacts to a folder or an object store, or point registry.uri at an MLflow server",
        )
    return section.uri, _root(section.artifacts, beside=Path())


def _sqlite(section: RegistrySection) -> tuple[str, str]:
    file = Path(section.uri.removeprefix(_SQLITE)).expanduser()
    if not section.uri.startswith(_SQLITE) or not file.is_absolute():
        raise RegistryError(
            f"registry.uri {section.uri!r} is not an absolute file",
            do=f"write sqlite:///{Path(section.uri.partition('://')[2].lstrip('/')).absolute()}",
        )
    return f"{_SQLITE}{file}", _root(section.artifacts, beside=file.parent)


def _root(artifacts: str, beside: Path) -> str:
    if artifacts == "auto":
        return (beside / "artifacts").as_uri()
    return artifacts if "://" in artifacts else Path(artifacts).expanduser().absolute().as_uri()
