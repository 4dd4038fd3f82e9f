"""What stays as it is because its registry, or the version there, cannot be used: for the log once, for /health."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

from serving.frames import FrameReader

logger = logging.getLogger(__name__)

Table = dict[str, str]
VERDICTS = "verdicts"  # the kind of a table that is no complaint: versions of a topic by what became of them


class Complaints:
    """Those of one follower, by part.

    Args:
        kind: of the parts, for people: "draft".
        tell: is given all of them after each change.
    """

    def __init__(self, kind: str = "", tell: Callable[[Table], None] = lambda _: None):
        self._kind, self._tell = f"{kind} " if kind else "", tell
        self._table: Table = {}

    def add(self, part: str, what: str) -> None:
        """Something is wrong with ``part``; said once."""
        if self._table.get(part) != what:
            logger.error("%s%s stays as it is: %s", self._kind, part, what)
            self._table[part] = what
            self._tell(self._table)

    def settle(self, part: str) -> None:
        """Nothing is wrong with it any more."""
        if self._table.pop(part, None) is not None:
            logger.warning("%s%s is followed again", self._kind, part)
            self._tell(self._table)


class Sender:
    """The followers' side: a table a follower. What nobody reads is dropped, never waited for."""

    def __init__(self, connection: Connection):
        self._connection = connection
        os.set_blocking(connection.fileno(), False)

    def send(self, kind: str, table: Mapping[str, object]) -> None:
        """Replace what ``kind`` has said before."""
        try:
            self._connection.send_bytes(json.dumps([kind, table]).encode())
        except BlockingIOError:
            logger.warning("nobody reads what is wrong with the registry")


class Notices:
    """The HTTP process's side: the latest tables, one line for all parts with the same trouble."""

    def __init__(self, connection: Connection):
        self._frames = FrameReader(connection)
        self._tables: dict[str, Table] = {}
        self.verdicts: dict[str, dict[str, int]] = {}

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._frames.fileno()

    def take(self) -> None:
        """Read the news."""
        for message in self._frames.read():
            kind, table = json.loads(message)
            if kind == VERDICTS:
                self.verdicts = table
            else:
                self._tables[kind] = table

    def of(self, kind: str) -> Table:
        """What one follower complains of, by part."""
        return self._tables.get(kind, {})

    @property
    def reasons(self) -> list[str]:
        """For /health: no more than the first line of each."""
        found = []
        for kind, table in self._tables.items():
            for what in dict.fromkeys(line.partition("\n")[0] for line in table.values()):
                parts = ", ".join(part for part, line in table.items() if line.partition("\n")[0] == what)
                found.append(f"{kind} {parts}: {what}" if kind != parts else f"{kind}: {what}")
        return found
