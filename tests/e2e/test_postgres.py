"""The registry on a real PostgreSQL, as a shared registry has it: works, goes, and comes back."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry.section import RegistrySection
from registry.store import Registry
from serving.ports import free_port

psycopg = pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")


def _program(name: str) -> str | None:
    """Debian keeps the server's programs out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


INITDB, POSTGRES = _program("initdb"), _program("postgres")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(INITDB is None or POSTGRES is None, reason="PostgreSQL is not installed"),
]
USER = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root


class Postgres:
    """A cluster in a folder, on a port of its own."""

    def __init__(self, folder: Path):
        self._data, self.port = folder / "data", free_port()
        self._process: subprocess.Popen[bytes] | None = None
        words = ["--pgdata", str(self._data), "--username", "polydraft", "--auth", "trust", "--no-sync"]
        subprocess.run([str(INITDB), *words], check=True, capture_output=True, user=USER, cwd=folder)

    @property
    def uri(self) -> str:
        return f"postgresql://polydraft@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        words = ["-D", str(self._data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        words += ["-c", f"unix_socket_directories={self._data}", "-c", "fsync=off"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([str(POSTGRES), *words], stdout=quiet, stderr=quiet, user=USER, cwd=self._data)
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.uri).close()
                return
            assert time.monotonic() < end, "PostgreSQL does not start"
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgres")
    if USER is not None:
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == 0 and parent != Path("/tmp") and "pytest" in parent.name:
                parent.chmod(0o755)
        shutil.chown(folder, USER)
    try:
        made = Postgres(folder)
    except PermissionError as error:
        pytest.skip(f"may not start PostgreSQL as {USER}: {error}")
    made.start()
    yield made
    made.stop()


def draft(folder: Path, weights: str) -> Path:
    """What looks like a checkpoint."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


def test_versions_and_aliases_live_in_postgresql(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered, promoted, rolled back; gone it is one line in time, and back it has forgotten nothing."""
    monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path / "home"))
    section = RegistrySection(uri=postgres.uri, artifacts=str(tmp_path / "files"), timeout_seconds=2)
    registry, model = Registry.open(section), "toy-draft-sql"
    first = registry.register(model, draft(tmp_path / "one", "first"), {"topic": "sql"}, alias="champion")
    second = registry.register(model, draft(tmp_path / "two", "second"), {"topic": "sql"}, alias="champion")
    assert registry.resolve(f"registry://{model}@champion").label == "sql@v2"
    registry.rollback(model)
    assert registry.resolve(f"registry://{model}@champion").label == "sql@v1"
    assert (first.version, second.version) == (1, 2)
    postgres.stop()
    began = time.monotonic()
    with pytest.raises(RegistryError, match="no registry answers at postgresql://") as raised:
        Registry.open(section)
    assert time.monotonic() - began < 5
    assert "polydraft" in str(raised.value)
    postgres.start()
    again = Registry.open(section)
    found = again.resolve(f"registry://{model}@champion")
    assert (found.label, (found.folder / "model.safetensors").exists()) == ("sql@v1", True)
    another = Registry.open(section)
    another.set_alias(model, "champion", 2, expected_current=1)
    assert again.resolve(f"registry://{model}@champion").label == "sql@v2"
