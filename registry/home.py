"""Where polydraft keeps what outlives a command: the local registry, downloaded versions, locks, traces."""

import os
from pathlib import Path


def data_directory() -> Path:
    """The data directory, absolute and not necessarily there yet.

    ``$POLYDRAFT_HOME``, else ``$XDG_DATA_HOME/polydraft``, else ``~/.local/share/polydraft``.
    """
    if home := os.environ.get("POLYDRAFT_HOME"):
        return Path(home).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "polydraft"
