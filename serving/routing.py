"""The deployment's router without its server, for `polydraft route`."""

from dataclasses import dataclass

from configs.errors import ConfigError
from drafts.pool import GENERAL
from router.decision import decision_document
from router.encoder import load_encoder
from router.topic_router import TopicRouter
from serving.config import Deployment
from serving.deployment import Resolver
from serving.plan import draft_sources


@dataclass(frozen=True)
class DeployedRouter:
    """A router and what its drafts are called in this deployment."""

    router: TopicRouter
    labels: dict[str, str]

    def document(self, text: str) -> dict[str, object]:
        """Which draft ``text`` gets, how sure, and why."""
        decision = self.router.decide(text)
        name = decision.draft if decision.draft in self.labels else GENERAL
        return {**decision_document(decision), "draft": self.labels.get(name, "none")}


def open_router(deployment: Deployment) -> DeployedRouter:
    """Load router and embedding model of a deployment.

    Raises:
        PolydraftError: it has no router, or the router cannot be used.
    """
    section = deployment.router
    if section is None:
        raise ConfigError("this deployment has no router", do="give it a router section")
    resolver = Resolver(deployment)
    folder = resolver.resolve(section.model, "router").folder
    router = TopicRouter.load(folder, load_encoder(section.embedding, section.max_tokens))
    if section.min_confidence is not None:
        router = router.with_min_confidence(section.min_confidence)
    sources = draft_sources(deployment)
    return DeployedRouter(router, {name: resolver.resolve(each.model, name).label for name, each in sources.items()})
