"""The way of noted answers out of the HTTP process, which must not wait for anybody."""

from multiprocessing.connection import Connection
from queue import Empty, Full, Queue
from threading import Event, Thread

from serving.seeing.entry import Entry

_LENGTH = 256
_CLOSE_SECONDS = 1.0


class Outbox:
    """Sends entries to the main process from a thread; what does not fit is dropped and counted.

    Args:
        connection: read by a `Publisher`.
        length: entries that may wait.
    """

    def __init__(self, connection: Connection, length: int = _LENGTH):
        self._connection = connection
        self._queue: Queue[Entry] = Queue(length)
        self._thread: Thread | None = None  # from the first entry on: it must not be there when processes fork
        self._is_closing = Event()
        self.dropped = 0

    def put(self, entry: Entry) -> None:
        """Take an answer that is over; never waits."""
        if self._thread is None:
            self._thread = Thread(target=self._send_forever, name="journal", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(entry)
        except Full:
            self.dropped += 1

    def close(self) -> None:
        """Send what is there, unless nobody reads it."""
        self._is_closing.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _send_forever(self) -> None:
        while not (self._is_closing.is_set() and self._queue.empty()):
            try:
                self._connection.send(self._queue.get(timeout=0.2))
            except Empty:
                continue
            except OSError:
                return  # the server ends
