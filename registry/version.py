"""What the registry answers with: one version of a model, and a model with all its versions."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from registry.names import CHALLENGER, CHAMPION, short_name


@dataclass(frozen=True)
class Version:
    """One immutable version of a registered model.

    ``folder`` holds its files and must never be written to. On a registry behind HTTP it is where
    `Registry.resolve` puts them, so it exists only for versions that were resolved here.
    """

    model: str
    version: int
    aliases: tuple[str, ...]
    folder: Path
    tags: dict[str, str] = field(hash=False)
    run_id: str | None
    created: datetime
    description: str = ""

    @property
    def label(self) -> str:
        """How people call it: ``sql@v3``."""
        return f"{self.tags.get('topic') or short_name(self.model)}@v{self.version}"

    def figure(self, name: str) -> float | None:
        """A numeric tag such as ``alpha``, or None where it is missing or not a number."""
        try:
            return float(self.tags[name])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class ModelSummary:
    """A registered model, its aliases and tags, and its versions from the newest to the oldest."""

    model: str
    aliases: dict[str, int] = field(hash=False)
    versions: tuple[Version, ...]
    tags: dict[str, str] = field(hash=False)

    @property
    def name(self) -> str:
        """``sql`` of ``starter-draft-sql``."""
        return short_name(self.model)

    @property
    def champion(self) -> Version | None:
        """The version that serves."""
        return self.behind(CHAMPION)

    @property
    def challenger(self) -> Version | None:
        """The version that hopes to serve."""
        return self.behind(CHALLENGER)

    def behind(self, alias: str) -> Version | None:
        """The version that an alias points to, or None."""
        number = self.aliases.get(alias)
        return next((version for version in self.versions if version.version == number), None)
