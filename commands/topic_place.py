"""What the commands about topics work with: a deployment, its registry, its target, its traces."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.console import hint
from configs.errors import ConfigError, RouterError

if TYPE_CHECKING:
    from registry.store import Registry
    from registry.version import Version
    from router.embedding_cache import CachedEncoder
    from router.proposal import ProposalFile
    from router.topic_router import TopicRouter
    from serving.config import Deployment
    from training.distillation.parent import Parent
    from training.topics.changing import Workshop
    from training.topics.proposals import Scout
    from training.topics.sources import Source

Traces = Annotated[Path | None, typer.Option("--traces", help="Folder of traces; without it, the deployment's.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of JSON lines, a file a topic; the target answers the prompts.")
]
Work = Annotated[Path, typer.Option("--work", help="Everything made is kept here; run again to resume.")]
WORK = Path("out/topics")


@dataclass(frozen=True)
class Place:
    """A deployment as these commands need it."""

    deployment: "Deployment"
    registry: "Registry"
    source: "Source"

    def encoder(self, cache: Path) -> "CachedEncoder":
        """The router's embedding model; embeddings are kept in ``cache``."""
        from router.embedding_cache import CachedEncoder
        from router.encoder import load_encoder
        from router.section import RouterSection

        section = self.deployment.router or RouterSection()
        return CachedEncoder(load_encoder(section.embedding, section.max_tokens), cache)

    def traces(self, folder: Path | None) -> Path:
        """The folder of traces that was asked for, or the deployment's."""
        return folder or self.deployment.traces.path(self.deployment.name)

    @property
    def proposals(self) -> "ProposalFile":
        """Where the deployment's proposals are."""
        from router.proposal import proposal_file

        return proposal_file(self.registry.location.state, self.deployment.name)

    def parent(self, topic: str) -> "Parent":
        """The draft of a topic to go on from: its champion, or what the deployment names for it."""
        from serving.deployment import Resolver
        from serving.plan import draft_sources
        from training.distillation.parent import find_parent

        resolver = Resolver(self.deployment)
        sources = {name: source.model for name, source in draft_sources(self.deployment).items()}
        name = self.deployment.name
        return find_parent(
            self.registry, name, topic, None, sources, lambda reference: resolver.resolve(reference, topic).folder
        )

    def versions(self) -> "dict[str, Version]":
        """The registered version behind every draft that serves, by name."""
        from registry.names import Reference
        from serving.deployment import REGISTRY_SCHEME, Resolver
        from serving.plan import draft_sources

        sources = {name: source.model for name, source in draft_sources(self.deployment).items()}
        if self.deployment.drafts.follow:
            sources |= Resolver(self.deployment).further_topics()
        return {
            name: self.registry.get(Reference.parse(model))
            for name, model in sources.items()
            if model.startswith(REGISTRY_SCHEME)
        }

    def workshop(self, work: Path, command: str, steps: int) -> "Workshop":
        """Where topics are changed."""
        from training.topics.changing import Workshop
        from training.topics.lesson import Teaching

        deployment = self.deployment
        return Workshop(
            deployment.name,
            self.registry,
            self.source.target,
            deployment.target.max_length,
            self.encoder(work / "embeddings"),
            work,
            command,
            Teaching(steps),
            say=hint,
        )

    def router(self, encoder: "CachedEncoder") -> "TopicRouter":
        """The router that serves.

        Raises:
            RouterError: there is none, or it cannot be used.
        """
        from router.topic_router import TopicRouter
        from serving.deployment import Resolver

        section = self.deployment.router
        if section is None:
            raise RouterError("this deployment has no router, so nothing is rejected", do="give it a router section")
        return TopicRouter.load(Resolver(self.deployment).resolve(section.model, "router").folder, encoder)

    def scout(self, traces: Path, data: Path | None, work: Path) -> "Scout":
        """Looks at the traces with the router that serves."""
        from training.topics.accepting import foreign_prompts
        from training.topics.proposals import Scout

        if not traces.is_dir():
            raise ConfigError(
                f"no folder {traces} of traces", do="serve with traces.enabled: true, or pass --traces DIR"
            )
        encoder = self.encoder(work / "embeddings")
        return Scout(
            traces,
            self.source.fingerprint,
            self.source.text_of,
            self.router(encoder),
            encoder,
            self.proposals,
            None if data is None else encoder.encode(foreign_prompts(data)),
            hint,
        )


def open_place(config: Path | None) -> Place:
    """A deployment with its registry and its target; one thread.

    Raises:
        PolydraftError: something of it cannot be used.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is imported
    import torch
    from transformers import AutoTokenizer

    from decoding.checkpoint import fingerprint
    from serving.config import deployment_of
    from serving.deployment import Resolver, open_registry
    from training.topics.sources import Source

    torch.set_num_threads(1)
    deployment = deployment_of(config)
    target = Resolver(deployment).resolve(deployment.target.model, "target", deployment.target.revision).folder
    source = Source(target, fingerprint(target), AutoTokenizer.from_pretrained(target))
    return Place(deployment, open_registry(deployment), source)


def command_of(command: str, /, **options: object) -> str:
    """The command that repeats this one; folders go by their names."""
    words = ["polydraft", "topics", command]
    for option, value in options.items():
        if value is not None:
            words += [f"--{option}", value.name if isinstance(value, Path) else str(value)]
    return " ".join(words)
