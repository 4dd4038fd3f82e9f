from pathlib import Path

import pytest

from registry.home import data_directory


def test_polydraft_home_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """POLYDRAFT_HOME is the data directory itself."""
    monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert data_directory() == tmp_path


def test_xdg_data_home_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME holds a folder called polydraft."""
    monkeypatch.delenv("POLYDRAFT_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_directory() == Path("/data/polydraft")


def test_home_is_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either it is in the user's home."""
    monkeypatch.delenv("POLYDRAFT_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert data_directory() == Path.home() / ".local/share/polydraft"
