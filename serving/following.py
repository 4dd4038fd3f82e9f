"""Notices that an alias of a draft has moved, checks the version behind it, and hands it on."""

import logging
import time
from collections.abc import Callable, Mapping
from threading import Thread

from configs.errors import PolydraftError
from drafts.pool import DraftSpec
from serving.config import Deployment
from serving.deployment import REGISTRY_SCHEME, Resolver
from serving.plan import check_version, draft_sources, spec_of

logger = logging.getLogger(__name__)


class DraftFollower:
    """Looks up every ``registry://`` reference of a deployment's drafts now and then, and topics that it follows.

    A registry that is gone is said once and asked again; what serves goes on serving.

    Args:
        specs: what serves at the start, by name.
        send: hands a version that passed its checks to the worker.
    """

    def __init__(self, deployment: Deployment, specs: Mapping[str, DraftSpec], send: Callable[[DraftSpec], None]):
        self._deployment, self._send = deployment, send
        self._sources = {
            name: source.model
            for name, source in draft_sources(deployment).items()
            if source.model.startswith(REGISTRY_SCHEME)
        }
        self._known = {name: spec.label for name, spec in specs.items()}
        self._said: dict[str, str] = {}  # the last complaint about each draft

    def start(self) -> None:
        """Follow in a thread, the first time after ``registry.poll_seconds``; 0 never looks."""
        follows = bool(self._sources) or self._deployment.drafts.follow
        if self._deployment.registry.poll_seconds and follows:
            Thread(target=self._follow_forever, name="registry", daemon=True).start()

    def look(self) -> None:
        """Compare every reference with what serves; hand on what has changed and fits."""
        resolver = Resolver(self._deployment)
        for name, reference in {**self._sources, **self._further(resolver)}.items():
            try:
                found = resolver.resolve(reference, name)
                if found.label == self._known.get(name):
                    continue
                self._known[name] = found.label  # looked at once, whatever comes of it
                check_version(self._deployment, found)
            except PolydraftError as error:
                self._complain(name, str(error))
            else:
                self._said.pop(name, None)
                self._send(spec_of(name, found))

    def _further(self, resolver: Resolver) -> dict[str, str]:
        """References of topics that the deployment does not name."""
        if not self._deployment.drafts.follow:
            return {}
        try:
            return resolver.further_topics()
        except PolydraftError:
            return {}  # the references above meet the same and say it

    def _follow_forever(self) -> None:
        while True:
            time.sleep(self._deployment.registry.poll_seconds)
            try:
                self.look()
            except (BrokenPipeError, ConnectionError):
                return  # the worker is gone, and the server with it

    def _complain(self, name: str, what: str) -> None:
        if self._said.get(name) != what:
            logger.error("draft %s stays as it is: %s", name, what)
        self._said[name] = what
