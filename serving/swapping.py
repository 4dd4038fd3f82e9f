"""The worker's side of a new draft version: loaded in a thread of its own, taken up between two steps."""

import logging
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Protocol

from configs.errors import PolydraftError
from drafts.model_drafter import ModelDrafter
from drafts.pool import DraftPool, DraftSpec
from serving.canaries import Canaries, Loaded
from serving.following_router import RouterVersion

logger = logging.getLogger(__name__)


class ReloadableRouter(Protocol):
    """What is asked of `router.process.RouterProcess`."""

    @property
    def label(self) -> str: ...
    @property
    def error(self) -> str: ...
    def reload(self, folder: Path, label: str) -> None: ...


class DraftSwapper:
    """Puts versions that arrive into the pool, and those of the router into its process.

    Args:
        versions: where `DraftSpec` arrive, already checked against the target, and `RouterVersion`. The thread waits
            for them there, so that a step that brings no version costs a look at an empty list.
        canaries: watch what takes over.
    """

    def __init__(
        self,
        pool: DraftPool,
        versions: Connection,
        router: ReloadableRouter | None = None,
        canaries: Canaries | None = None,
    ):
        self._pool, self._versions, self._router, self._canaries = pool, versions, router, canaries
        self._routers: deque[RouterVersion] = deque()
        self._awaited: RouterVersion | None = None  # the router that is loading
        self.refused = ""  # the last version of the router that could not be used, and why
        self._loaded: deque[tuple[DraftSpec, ModelDrafter, Loaded | None]] = deque()
        self.drafts_refused: dict[str, str] = {}  # versions that could not be used, and why, by name
        self.added: tuple[str, ...] = ()  # names that were not there at the start
        Thread(target=self._load_forever, name="drafts", daemon=True).start()

    def install(self) -> None:
        """Take up what has been loaded; called between two steps."""
        while self._loaded:
            spec, drafter, spare = self._loaded.popleft()
            if spec.name in self._pool.specs:
                logger.info("draft %s takes over from %s", spec.label, self._pool.label(spec.name))
            else:
                self.added = (*self.added, spec.name)
                logger.info("draft %s joins: a new topic", spec.label)
            before = self._pool.current(spec.name) or spare
            self._pool.replace(spec, drafter)
            self.drafts_refused.pop(spec.name, None)
            if before is not None and self._canaries is not None:
                self._canaries.begin(before, spec)
        if self._router is not None and (self._routers or self._awaited is not None):
            self._reload(self._router)

    def _reload(self, router: ReloadableRouter) -> None:
        if self._awaited is None:
            self._awaited = self._routers.popleft()
            router.reload(self._awaited.folder, self._awaited.label)
        elif error := router.error:
            what = error.partition("\n")[0]
            logger.error("%s is refused, %s stays: %s", self._awaited.label, router.label or "no router", what)
            self.refused, self._awaited = f"{self._awaited.label} is refused: {what}", None
        elif router.label == self._awaited.label:
            logger.info("%s routes from now on", router.label)
            self.refused, self._awaited = "", None

    def _load_forever(self) -> None:
        while True:
            try:
                spec: DraftSpec | RouterVersion = self._versions.recv()
            except (EOFError, OSError):
                return  # the server is gone, which the worker notices by itself
            if isinstance(spec, RouterVersion):
                self._routers.append(spec)
                continue
            try:
                self._loaded.append((spec, self._pool.loaded(spec), self._spare(spec.name)))
            except (PolydraftError, OSError) as error:
                logger.error("draft %s is refused, the one before stays: %s", spec.label, error)
                what = str(error).partition("\n")[0]
                self.drafts_refused[spec.name] = f"draft {spec.label} is refused, the one before stays: {what}"

    def _spare(self, name: str) -> Loaded | None:
        """The version before, where nobody has used it yet: what comes is compared with it all the same."""
        before = self._pool.specs.get(name)
        if before is None or self._canaries is None or self._pool.current(name) is not None:
            return None
        try:
            return before, self._pool.loaded(before)
        except (PolydraftError, OSError) as error:
            logger.warning("draft %s is gone, so that nothing is compared with it: %s", before.label, error)
            return None
