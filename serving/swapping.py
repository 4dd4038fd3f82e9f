"""The worker's side of a new draft version: loaded in a thread of its own, taken up between two steps."""

import logging
from collections import deque
from multiprocessing.connection import Connection
from threading import Thread

from configs.errors import PolydraftError
from drafts.model_drafter import ModelDrafter
from drafts.pool import DraftPool, DraftSpec

logger = logging.getLogger(__name__)


class DraftSwapper:
    """Puts versions that arrive into the pool.

    Args:
        versions: where `DraftSpec` arrive, already checked against the target. The thread waits for them there, so
            that a step that brings no version costs a look at an empty list.
    """

    def __init__(self, pool: DraftPool, versions: Connection):
        self._pool, self._versions = pool, versions
        self._loaded: deque[tuple[DraftSpec, ModelDrafter]] = deque()
        self.added: tuple[str, ...] = ()  # names that were not there at the start
        Thread(target=self._load_forever, name="drafts", daemon=True).start()

    def install(self) -> None:
        """Take up what has been loaded; called between two steps."""
        while self._loaded:
            spec, drafter = self._loaded.popleft()
            if spec.name in self._pool.specs:
                logger.info("draft %s takes over from %s", spec.label, self._pool.label(spec.name))
            else:
                self.added = (*self.added, spec.name)
                logger.info("draft %s joins: a new topic", spec.label)
            self._pool.replace(spec, drafter)

    def _load_forever(self) -> None:
        while True:
            try:
                spec: DraftSpec = self._versions.recv()
            except (EOFError, OSError):
                return  # the server is gone, which the worker notices by itself
            try:
                self._loaded.append((spec, self._pool.loaded(spec)))
            except (PolydraftError, OSError) as error:
                logger.error("draft %s is refused, the one before stays: %s", spec.label, error)
