"""Jobs out of LitServe's queue, fetched beside the step loop.

The queue lives in a process of its own, which answers when it gets a core: on a busy machine that takes as long as many
a step. A thread waits for it here, and the step loop finds what has come in a queue of its own process.
"""

from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

# A fetch that hangs in the queue's process when its worker dies takes the next job with it. Until the next worker
# serves, none is put there; by then the fetch must have ended.
_FETCH_SECONDS = 0.2


class Arrivals:
    """What the thread has fetched; begins at once."""

    def __init__(self, jobs: Any):
        self._fetched: SimpleQueue[Any] = SimpleQueue()
        Thread(target=self._fetch_forever, args=(jobs,), name="arrivals", daemon=True).start()

    def get(self, timeout: float = 0) -> Any:
        """The next one, or Empty.

        Raises:
            EOFError, ConnectionError: the queue is gone; or whatever else went wrong with it.
        """
        found = self._fetched.get(timeout=timeout) if timeout else self._fetched.get_nowait()
        if isinstance(found, Exception):
            raise found
        return found

    def _fetch_forever(self, jobs: Any) -> None:
        while True:
            try:
                self._fetched.put(jobs.get(timeout=_FETCH_SECONDS))
            except Empty:
                continue
            # Whatever it is, the step loop must hear of it: nothing would arrive any more.
            except Exception as error:  # noqa: BLE001 (raised where it is heard)
                self._fetched.put(error)
                return
