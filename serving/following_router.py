"""Notices that the alias of the router has moved, and hands the version behind it on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from configs.errors import PolydraftError
from serving.complaints import Complaints
from serving.config import Deployment
from serving.deployment import REGISTRY_SCHEME, Resolver


@dataclass(frozen=True, slots=True)
class RouterVersion:
    """A version of the router, for the worker; the router's own process checks its files before it takes over."""

    label: str
    folder: Path


class RouterFollower:
    """Looks up the ``registry://`` reference of a deployment's router now and then.

    A registry that is gone is said once and asked again; what serves goes on serving.

    Args:
        label: of the version that serves at the start, such as ``router@v1``.
        send: hands a version to the worker.
        complaints: about a router that cannot be followed.
    """

    def __init__(
        self,
        deployment: Deployment,
        label: str,
        send: Callable[[RouterVersion], None],
        complaints: Complaints | None = None,
    ):
        self._deployment, self._send = deployment, send
        self._first = self._known = label
        model = deployment.router.model if deployment.router is not None else ""
        self._reference = model if model.startswith(REGISTRY_SCHEME) else ""
        self._complaints = complaints or Complaints()

    def start(self) -> None:
        """Follow in a thread, the first time after ``registry.poll_seconds``; 0 never looks."""
        if self._deployment.registry.poll_seconds and self._reference:
            Thread(target=self._follow_forever, name="router-registry", daemon=True).start()

    def start_over(self) -> None:
        """The worker begins again with the version that it was started with."""
        self._known = self._first

    def look(self) -> None:
        """Compare the reference with what serves; hand on what has changed."""
        try:
            found = Resolver(self._deployment).resolve(self._reference, "router")
        except PolydraftError as error:
            self._complaints.add("the router", str(error))
            return
        self._complaints.settle("the router")
        if found.label != self._known:
            self._known = found.label  # looked at once, whatever comes of it
            self._send(RouterVersion(found.label, found.folder))

    def _follow_forever(self) -> None:
        while True:
            time.sleep(self._deployment.registry.poll_seconds)
            try:
                self.look()
            except (BrokenPipeError, ConnectionError):
                return  # the worker is gone, and the server with it
