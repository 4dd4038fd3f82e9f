"""Topics that a deployment does not name but follows: those whose draft has a champion in its registry."""

import logging
from dataclasses import replace

from configs.errors import PolydraftError
from drafts.pool import DraftSpec
from serving.config import Deployment
from serving.deployment import Resolver
from serving.plan import Plan, check_version, draft_sources, spec_of

logger = logging.getLogger(__name__)


def with_followed(plan: Plan, deployment: Deployment) -> Plan:
    """The plan with the further topics of the registry, where the deployment follows them.

    A draft that does not fit is left out and said; unlike one that the file names it was not asked for.
    """
    if not deployment.drafts.follow:
        return plan
    resolver = Resolver(deployment)
    found: dict[str, DraftSpec] = {}
    for topic, reference in resolver.further_topics().items():
        try:
            draft = resolver.resolve(reference, topic)
            check_version(deployment, draft)
        except PolydraftError as error:
            logger.warning("topic %s is left out: %s", topic, error)
        else:
            found[topic] = spec_of(topic, draft)
    return replace(plan, drafts={**plan.drafts, **found})


def drafts_now(deployment: Deployment) -> dict[str, DraftSpec]:
    """Every draft that the deployment serves as the registry has it at this moment; not checked against the target.

    Raises:
        RegistryError: it cannot be asked, or lacks one that the deployment names.
        CheckpointError: a folder is gone.
    """
    resolver = Resolver(deployment)
    references = {name: source.model for name, source in draft_sources(deployment).items()}
    if deployment.drafts.follow:
        references |= resolver.further_topics()
    return {name: spec_of(name, resolver.resolve(reference, name)) for name, reference in references.items()}
