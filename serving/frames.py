"""Whole messages out of a pipe whose writer may be killed in the middle of one."""

import os
from multiprocessing.connection import Connection

_LENGTH, _LONG_LENGTH = 4, 8  # bytes, in front of a message; the long form follows a length of -1
_CHUNK = 1 << 16


class FrameReader:
    """Reads what `Connection.send_bytes` writes, without ever waiting for the rest of a message.

    `Connection.recv_bytes` does wait, for ever if the writer was killed and others hold the pipe open.
    Not for Windows, whose pipes keep messages whole by themselves.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._held = bytearray()

    def fileno(self) -> int:
        """Readable when something has come."""
        return self._connection.fileno()

    def read(self) -> list[bytes]:
        """The messages that are complete by now, in order; what is begun is kept for the next time.

        Raises:
            EOFError: nobody can write any more.
        """
        os.set_blocking(self._connection.fileno(), False)
        while (chunk := _read(self._connection)) is not None:
            if not chunk:
                raise EOFError
            self._held += chunk
        return self._cut()

    def clear(self) -> None:
        """Forget everything that was sent until now: its writer is dead."""
        self.read()
        self._held.clear()

    def _cut(self) -> list[bytes]:
        messages, position = [], 0
        while (span := _span(self._held, position)) is not None:
            start, end = span
            messages.append(bytes(self._held[start:end]))
            position = end
        del self._held[:position]
        return messages


def discard(connection: Connection) -> None:
    """Empty a pipe of whatever its reader, who is dead, has left there, half a message included."""
    os.set_blocking(connection.fileno(), False)
    try:
        while _read(connection):
            pass
    finally:
        os.set_blocking(connection.fileno(), True)


def _read(connection: Connection) -> bytes | None:
    """What has come; None if nothing has, b"" if nothing ever will."""
    try:
        return os.read(connection.fileno(), _CHUNK)
    except BlockingIOError:
        return None


def _span(held: bytearray, position: int) -> tuple[int, int] | None:
    """Begin and end of the message at ``position``, if it is all there."""
    start = position + _LENGTH
    if len(held) < start:
        return None
    length = int.from_bytes(held[position:start], signed=True)
    if length == -1:
        if len(held) < start + _LONG_LENGTH:
            return None
        length, start = int.from_bytes(held[start : start + _LONG_LENGTH]), start + _LONG_LENGTH
    return (start, start + length) if len(held) >= start + length else None
