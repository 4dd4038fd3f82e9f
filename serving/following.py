"""Notices that an alias of a draft has moved, checks the version behind it, and hands it on."""

import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from threading import Thread

from configs.errors import PolydraftError, RegistryError
from decoding.native.memory import give_back
from drafts.pool import DraftSpec
from registry.names import CHAMPION, Reference, draft_model
from registry.verdicts import roll_back
from serving.canaries import WayBack
from serving.complaints import Complaints
from serving.config import Deployment
from serving.deployment import REGISTRY_SCHEME, Resolved, Resolver, open_registry
from serving.plan import check_version, draft_sources, spec_of


class DraftFollower:
    """Looks up every ``registry://`` reference of a deployment's drafts now and then, and topics that it follows.

    A registry that is gone is said once and asked again; what serves goes on serving.

    Args:
        specs: what serves at the start, by name.
        send: hands a version that passed its checks to the worker.
        ways_back: where the worker says which versions it gave up again; their alias goes back, too.
        complaints: about drafts that cannot be followed.
    """

    def __init__(
        self,
        deployment: Deployment,
        specs: Mapping[str, DraftSpec],
        send: Callable[[DraftSpec], None],
        ways_back: Connection | None = None,
        complaints: Complaints | None = None,
    ):
        self._deployment, self._send, self._ways_back = deployment, send, ways_back
        self._unsaid: list[WayBack] = []  # what the registry has not been told yet
        self._sources = {
            name: source.model
            for name, source in draft_sources(deployment).items()
            if source.model.startswith(REGISTRY_SCHEME)
        }
        self._first = {name: spec.label for name, spec in specs.items()}
        self._known = dict(self._first)
        self._refused: dict[str, tuple[str, str]] = {}  # label that did not fit and why, by name
        self._complaints = complaints or Complaints("draft")

    def start(self) -> None:
        """Follow in a thread, the first time after ``registry.poll_seconds``; 0 never looks."""
        follows = bool(self._sources) or self._deployment.drafts.follow
        if self._deployment.registry.poll_seconds and follows:
            Thread(target=self._follow_forever, name="registry", daemon=True).start()

    def start_over(self) -> None:
        """The worker begins again with what it was started with: hand on anew what has come since."""
        self._known = dict(self._first)

    def look(self) -> None:
        """Compare every reference with what serves; hand on what has changed and fits."""
        self._go_back()
        resolver = Resolver(self._deployment)
        for name, reference in {**self._sources, **self._further(resolver)}.items():
            try:
                found = resolver.resolve(reference, name)
                is_new = found.label != self._known.get(name)
                if is_new:
                    self._known[name] = found.label  # looked at once, whatever comes of it
                    self._check(name, found)
            except PolydraftError as error:
                self._complaints.add(name, str(error))
                continue
            label, why = self._refused.get(name, ("", ""))
            if label == found.label:
                self._complaints.add(name, why)
                continue
            self._complaints.settle(name)
            if is_new:
                self._send(spec_of(name, found))

    def _check(self, name: str, found: Resolved) -> None:
        self._refused.pop(name, None)
        try:
            check_version(self._deployment, found)
        except PolydraftError as error:
            self._refused[name] = (found.label, str(error))

    def _further(self, resolver: Resolver) -> dict[str, str]:
        """References of topics that the deployment does not name."""
        if not self._deployment.drafts.follow:
            return {}
        try:
            return resolver.further_topics()
        except PolydraftError:
            return {}  # the references above meet the same and say it

    def take_back(self, back: WayBack) -> None:
        """The worker has gone back to the version before; the registry is told at the next look."""
        if self._known.get(back.name) == back.left:
            self._known[back.name] = back.back
        self._unsaid.append(back)

    def _go_back(self) -> None:
        """Move the alias of what was given up, unless somebody has moved it already."""
        while self._unsaid:
            back = self._unsaid[0]
            followed = Reference(draft_model(self._deployment.name, back.name), CHAMPION, None)
            reference = Reference.parse(self._sources.get(back.name, str(followed)))
            try:
                registry = open_registry(self._deployment)
                if reference.alias == CHAMPION and registry.get(reference).label == back.left:
                    roll_back(registry, reference.model, f"canary: {back.reason}")
            except RegistryError as error:
                self._complaints.add(back.name, f"the registry cannot be told that {back.left} is given up: {error}")
                return
            self._unsaid.pop(0)

    def _follow_forever(self) -> None:
        while True:
            try:
                self._wait()
                self.look()
                # Looks leave holes between small things that stay, in an arena for each of the followers' threads.
                give_back()
            except (EOFError, BrokenPipeError, ConnectionError):
                return  # the worker is gone, and the server with it

    def _wait(self) -> None:
        """Until the next look, or until the worker gives up a version."""
        seconds = self._deployment.registry.poll_seconds
        if self._ways_back is None:
            time.sleep(seconds)
        elif self._ways_back.poll(seconds):
            self.take_back(self._ways_back.recv())
