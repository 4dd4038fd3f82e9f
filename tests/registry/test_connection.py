import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry.section import RegistrySection
from registry.store import Registry


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def other_server() -> Iterator[str]:
    """A web server that is no MLflow."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_importing_the_room_does_not_import_mlflow() -> None:
    """The command line pays for MLflow only when it is used."""
    code = "import sys, registry.store, registry.starter, registry.ui; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_closed_port_is_told_at_once(empty_home: Path) -> None:
    """Nobody waits for retries against a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(RegistryError, match=f"no registry answers at http://127.0.0.1:{port}"):
        Registry.open(RegistrySection(uri=f"http://127.0.0.1:{port}"))
    assert time.monotonic() - start < 3


def test_a_silent_server_is_told_after_its_time(empty_home: Path, silent_port: int) -> None:
    """A server that hangs costs timeout_seconds, not minutes."""
    start = time.monotonic()
    with pytest.raises(RegistryError, match="no registry answers"):
        Registry.open(RegistrySection(uri=f"http://127.0.0.1:{silent_port}", timeout_seconds=0.3))
    assert time.monotonic() - start < 3


def test_another_web_server_is_not_taken_for_a_registry(empty_home: Path, other_server: str) -> None:
    """A wrong URL that answers is an error with the URL in it."""
    with pytest.raises(RegistryError, match="refused") as caught:
        Registry.open(RegistrySection(uri=other_server))
    assert other_server in str(caught.value)
    assert "registry.uri" in caught.value.do


def test_a_closed_database_port_is_told_at_once(empty_home: Path) -> None:
    """MLflow would try a dead database for a minute and a half."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    section = RegistrySection(uri=f"postgresql://user:secret@127.0.0.1:{port}/db", artifacts="/srv")
    with pytest.raises(RegistryError, match="no registry answers") as caught:
        Registry.open(section)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_told_at_once(empty_home: Path) -> None:
    """A damaged file is named, and not overwritten."""
    file = empty_home / "registry" / "mlflow.db"
    file.parent.mkdir(parents=True)
    file.write_text("not a database")
    with pytest.raises(RegistryError, match="not an SQLite database"):
        Registry.open(RegistrySection())
    assert file.read_text() == "not a database"


def test_a_database_of_another_mlflow_version_is_told(home: Path) -> None:
    """The command that migrates it is in the error."""
    connection = sqlite3.connect(home / "registry" / "mlflow.db")
    connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    connection.commit()
    connection.close()
    with pytest.raises(RegistryError, match="another MLflow version") as caught:
        Registry.open(RegistrySection())
    assert "mlflow db upgrade sqlite:///" in caught.value.do
