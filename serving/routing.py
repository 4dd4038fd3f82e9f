"""The deployment's router without its server, for `polydraft route`."""

from dataclasses import dataclass

from configs.errors import ConfigError
from drafts.pool import GENERAL
from router.decision import decision_document
from router.encoder import load_encoder
from router.explanation import explain
from router.topic_router import TopicRouter
from serving.config import Deployment
from serving.deployment import Resolver
from serving.plan import draft_sources

_MOST_WORDS, _LEAST_FALL = 5, 0.005


@dataclass(frozen=True)
class DeployedRouter:
    """A router and what its drafts are called in this deployment."""

    router: TopicRouter
    labels: dict[str, str]

    def explanation(self, text: str) -> tuple[list[str], list[list[str]]]:
        """What was weighed for ``text`` and what decided, as header and lines for people."""
        found = explain(self.router, text)
        decision = found.decision
        lines = [
            ["topic " + topic, f"{probability:.4f}", f"distance {found.distances[topic]:.2f}"]
            for topic, probability in decision.alternatives
        ]
        lines += [
            ["in scope", f"{decision.in_scope:.4f}", f"at least {found.min_in_scope:.4f}"],
            ["nearest topic", f"{min(found.distances.values()):.4f}", f"at most {found.max_distance:.4f}"],
            ["confidence", f"{decision.confidence:.4f}", f"at least {found.min_confidence:.4f}"],
        ]
        lines += [[f"accepted, {name}", f"{alpha:.4f}", "predicted"] for name, alpha in decision.acceptance]
        words = [(word, fall) for word, fall in found.words if fall > _LEAST_FALL][:_MOST_WORDS]
        lines += [["word " + word, f"{fall:.4f}", "less sure without it"] for word, fall in words]
        return ["draft", str(self.document(text)["draft"]), found.rule], lines

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
