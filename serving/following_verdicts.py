"""Counts what became of the versions in the registry, for `/metrics`."""

import time
from collections import Counter
from collections.abc import Callable
from threading import Thread

from configs.errors import PolydraftError
from registry.names import draft_model
from registry.version import ModelSummary
from serving.config import Deployment
from serving.deployment import REGISTRY_SCHEME, open_registry
from serving.plan import draft_sources

_SELDOM = 6  # polls of an alias for each look at every version, which costs a question a topic

Verdicts = dict[str, dict[str, int]]  # topic -> verdict -> versions


class VerdictFollower:
    """Looks through the versions of a deployment's drafts now and then, in a thread.

    Where the registry is gone nothing is told: those who follow aliases say so.

    Args:
        tell: is given all verdicts when one has come or changed.
    """

    def __init__(self, deployment: Deployment, tell: Callable[[Verdicts], None]):
        self._deployment, self._tell = deployment, tell
        self._told: Verdicts = {}

    def start(self) -> None:
        """Look at once, and then every so often; never where nothing of the registry is followed."""
        if self._deployment.registry.poll_seconds and _follows(self._deployment):
            Thread(target=self._look_forever, name="verdicts", daemon=True).start()

    def look(self) -> None:
        """Count anew, and tell what is news."""
        prefix = draft_model(self._deployment.name, "")
        try:
            models = open_registry(self._deployment).list_models(prefix)
        except PolydraftError:
            return
        found = {model.model.removeprefix(prefix): verdicts_of(model) for model in models}
        if found != self._told:
            self._tell(found)
            self._told = found

    def _look_forever(self) -> None:
        while True:
            self.look()
            time.sleep(_SELDOM * self._deployment.registry.poll_seconds)


def _follows(deployment: Deployment) -> bool:
    sources = draft_sources(deployment).values()
    return deployment.drafts.follow or any(source.model.startswith(REGISTRY_SCHEME) for source in sources)


def verdicts_of(model: ModelSummary) -> dict[str, int]:
    """How many of its versions were promoted, refused, rolled back; those that nobody judged are left out."""
    return dict(Counter(verdict for version in model.versions if (verdict := version.tags.get("verdict"))))
