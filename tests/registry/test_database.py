import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest

import registry.database
from configs.errors import RegistryError
from registry.database import prepare_database
from registry.section import RegistrySection
from registry.store import Registry


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Preparing twice does nothing the second time."""
    file = tmp_path / "mlflow.db"
    file.write_text("whatever")
    assert not prepare_database(file)
    assert file.read_text() == "whatever"


def test_the_database_keeps_a_write_ahead_log(template_database: Path) -> None:
    """Readers of a prepared database do not wait for writers."""
    connection = sqlite3.connect(template_database)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def _killed_halfway(file: Path) -> None:
    def fill(fresh: Path) -> None:
        fresh.write_text("half a database")
        os.kill(os.getpid(), signal.SIGKILL)

    registry.database._fill = fill
    prepare_database(file)


def test_a_kill_while_making_it_leaves_nothing_behind(empty_home: Path) -> None:
    """The next opening makes the registry as if nothing had happened."""
    file = empty_home / "registry" / "mlflow.db"
    child = multiprocessing.get_context("fork").Process(target=_killed_halfway, args=(file,))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert not file.exists()
    assert Registry.open(RegistrySection()).list_models() == []
    assert not file.with_name("mlflow.db.new").exists()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The error names the folder and what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="cannot be written") as caught:
        prepare_database(tmp_path / "file" / "registry" / "mlflow.db")
    assert "POLYDRAFT_HOME" in caught.value.do
