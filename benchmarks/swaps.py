"""Somebody who moves the champions of a deployment's drafts to other versions and back while it serves."""

import threading
from types import TracebackType
from typing import Self

from configs.errors import RegistryError
from registry.names import CHAMPION, Reference, draft_model
from registry.store import Registry
from serving.config import Deployment
from serving.deployment import open_registry


class Swapper:
    """Moves one champion every ``every_seconds``, in turn, as a context; in the end all are where they were.

    Drafts with a single version stay as they are. Where somebody else moves a champion meanwhile, that is its place.

    Raises:
        RegistryError: the registry cannot be reached.
    """

    def __init__(self, deployment: Deployment, every_seconds: float):
        self._every_seconds = every_seconds
        self._registry: Registry = open_registry(deployment)
        self._pairs: dict[str, tuple[int, int]] = {}  # the champion, and the version beside it
        for model in self._registry.list_models(draft_model(deployment.name, "")):
            if (home := model.aliases.get(CHAMPION)) is None:
                continue
            others = [each.version for each in model.versions if each.version != home]
            if others:
                self._pairs[model.model] = (home, others[0])
        self.moved = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._swap_forever, name="swaps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        for model in self._pairs:
            self._put_back(model)

    def _swap_forever(self) -> None:
        while self._pairs:
            for model in self._pairs:
                if self._ended.wait(self._every_seconds):
                    return
                try:
                    self._swap(model)
                except RegistryError:
                    continue  # away for the moment, or somebody was faster

    def _swap(self, model: str) -> None:
        home, other = self._pairs[model]
        now = self._registry.get(Reference(model, CHAMPION, None)).version
        if now not in (home, other):
            home, other = self._pairs[model] = (now, home)
        self._registry.set_alias(model, CHAMPION, other if now == home else home, expected_current=now)
        self.moved += 1

    def _put_back(self, model: str) -> None:
        home, other = self._pairs[model]
        if self._registry.get(Reference(model, CHAMPION, None)).version == other:
            self._registry.set_alias(model, CHAMPION, home, expected_current=other)
