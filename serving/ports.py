"""Whether a port is free, and who has it if not."""

import errno
import socket
from pathlib import Path

from configs.errors import ServerError

_LISTENING = "0A"


def check_port(host: str, port: int) -> None:
    """Find out before anything is started.

    Raises:
        ServerError: naming the process that has the port, where that can be seen.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ServerError(f"cannot listen on {host}:{port}: {error.strerror}") from error
            owner = _owner(port)
            by = f" by process {owner[0]} ({owner[1]}): stop it, or use" if owner else ": use"
            raise ServerError(f"port {port} is taken{by} --port {port + 1}") from None


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _owner(port: int) -> tuple[int, str] | None:
    """Process id and name of a listener; None where /proc does not tell."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listeners(table, port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return int(process.name), (process / "comm").read_text().strip()
        except OSError:
            continue  # another user's process, or one that has just ended
    return None


def _listeners(table: str, port: int) -> list[str]:
    try:
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port]
