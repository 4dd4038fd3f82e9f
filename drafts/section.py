"""Section of a deployment that names the drafts."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from configs.section import Section

if TYPE_CHECKING:
    from drafts.canary import CanaryRule

STARTER_TOPICS = ("sql", "math", "python", "shell", "medical", "chat")


Topic = Annotated[str, Field(pattern=r"^[^/\\.\x00][^/\\\x00]*$")]  # also the name of a folder


class DraftSource(Section):
    """Where one draft model comes from."""

    model: str = Field(description="registry://NAME@ALIAS, a folder, or a Hugging Face name")


def _starter(topic: str) -> DraftSource:
    return DraftSource(model=f"registry://starter-draft-{topic}@champion")


class CanarySection(Section):
    """How a version that takes over while serving is watched; see docs/draft.md."""

    requests: int = Field(
        default=300, ge=0, description="of its topic that a new version is watched for; 0: it is not watched"
    )
    share: float = Field(
        default=0.1, ge=0, lt=1, description="of the topic's requests that stay with the version before, meanwhile"
    )
    limit: float = Field(
        default=8.0,
        gt=0,
        description="CUSUM of shortfalls, in deviations, at which the alias goes back; lower errs more often",
    )

    @property
    def rule(self) -> "CanaryRule":
        """As the watch takes it."""
        from drafts.canary import CanaryRule

        return CanaryRule(limit=self.limit, most_requests=self.requests)


class DraftsSection(Section):
    """What proposes tokens: a draft a topic, a general one, and the prompt itself."""

    general: DraftSource | None = Field(
        default_factory=lambda: _starter("general"), description="serves requests of no topic; null for none"
    )
    topics: dict[Topic, DraftSource] = Field(
        default_factory=lambda: {topic: _starter(topic) for topic in STARTER_TOPICS},
        description="topic -> the draft that proposes for it",
    )
    follow: bool = Field(
        default=False,
        description="also serve every further topic whose draft has a champion in the registry, new ones while serving",
    )
    canary: CanarySection = Field(
        default_factory=CanarySection, description="what a version that takes over goes through"
    )
    prompt_lookup: bool = Field(default=True, description="free proposals copied from the prompt itself")
    memory_mb: int = Field(default=512, ge=16, description="least recently used draft leaves first; general never does")
