"""The draft that a job goes on from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError
from drafts.pool import GENERAL
from registry.names import CHAMPION, SCHEME, Reference, draft_model
from registry.store import Registry
from registry.version import Version


@dataclass(frozen=True)
class Parent:
    """A draft's files, how people call it, and its place in the registry if it has one."""

    folder: Path
    label: str
    version: Version | None = None

    def number_in(self, model: str) -> int | None:
        """Its version number if it is a version of ``model``."""
        return self.version.version if self.version is not None and self.version.model == model else None


def find_parent(
    registry: Registry,
    deployment: str,
    topic: str,
    wanted: str | None,
    sources: Mapping[str, str],
    resolve: Callable[[str], Path],
) -> Parent:
    """The version asked for; else the topic's champion, else what the deployment names for it, else for no topic.

    Args:
        wanted: ``sql@v3``, or ``v3`` of this topic; None to choose.
        sources: draft references of the deployment by topic.
        resolve: the folder of a reference that is none of the registry's.

    Raises:
        ConfigError: the deployment has no draft to go on from.
        RegistryError: there is no such version.
    """
    if wanted is not None:
        text = wanted if "@" in wanted else f"{topic}@{wanted}"
        return _registered(registry, Reference.parse(text, deployment))
    for name in dict.fromkeys((topic, GENERAL)):
        model = draft_model(deployment, name)
        if any(found.model == model and found.champion for found in registry.list_models(model)):
            return _registered(registry, Reference(model, CHAMPION, None))
        if name in sources:
            source = sources[name]
            if source.startswith(SCHEME):
                return _registered(registry, Reference.parse(source))
            return Parent(resolve(source), name)
    raise ConfigError(
        f"deployment {deployment} has no draft to go on from", do="name one under drafts.general, or pass --from"
    )


def _registered(registry: Registry, reference: Reference) -> Parent:
    version = registry.get(reference)
    return Parent(version.folder, version.label, version)
