"""From the references of a deployment to folders on this machine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import CheckpointError
from drafts.pool import AND, GENERAL, LOOKUP
from registry.names import CHAMPION, Reference, draft_model
from registry.starter import import_starter
from registry.store import Registry
from serving.config import Deployment

STARTER = Path(__file__).resolve().parent.parent / "starter"
REGISTRY_SCHEME, STARTER_SCHEME = "registry://", "starter://"
_MODEL_FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")


def open_registry(deployment: Deployment, starter: Path = STARTER) -> Registry:
    """The deployment's registry; the first time, the starter is imported if that is what it serves.

    Raises:
        RegistryError: it cannot be reached, or the shipped starter is damaged.
    """
    registry = Registry.open(deployment.registry)
    if deployment.target.model.startswith(STARTER_SCHEME):
        import_starter(registry, starter)
    return registry


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model's files, how replies call it (``sql@v1``), and what its version is tagged with."""

    folder: Path
    label: str
    tags: dict[str, str] = field(default_factory=dict)


class Resolver:
    """Turns model references into folders; opens the registry when the first one asks for it."""

    def __init__(self, deployment: Deployment, starter: Path = STARTER):
        self._deployment, self._starter = deployment, starter
        self._registry: Registry | None = None

    def resolve(self, reference: str, name: str, revision: str | None = None) -> Resolved:
        """What ``reference`` means now; ``name`` is its label where it has no version.

        Raises:
            RegistryError: the registry lacks it.
            CheckpointError: there is no such folder or model.
        """
        if reference.startswith(REGISTRY_SCHEME):
            version = self._opened().resolve(reference)
            return Resolved(version.folder, version.label, version.tags)
        return Resolved(self._folder(reference, revision), name)

    def further_topics(self) -> dict[str, str]:
        """References of the drafts that the registry has a champion of and the deployment does not name, by topic.

        Raises:
            RegistryError: it cannot be asked.
        """
        drafts, prefix = self._deployment.drafts, draft_model(self._deployment.name, "")
        found = [name.removeprefix(prefix) for name in self._opened().aliased(CHAMPION, prefix)]
        named = {*drafts.topics, GENERAL, LOOKUP}
        topics = [topic for topic in found if topic not in named and AND not in topic]
        return {topic: str(Reference(f"{prefix}{topic}", CHAMPION, None)) for topic in topics}

    def _opened(self) -> Registry:
        if self._registry is None:
            self._registry = open_registry(self._deployment, self._starter)
        return self._registry

    def _folder(self, reference: str, revision: str | None) -> Path:
        if reference.startswith(STARTER_SCHEME):
            return _existing(self._starter / reference.removeprefix(STARTER_SCHEME), reference)
        path = Path(reference).expanduser()
        if path.exists() or reference.startswith(("/", ".", "~")):
            return _existing(path, reference)
        return _from_hub(reference, revision)


def _existing(path: Path, reference: str) -> Path:
    if not path.is_dir():
        raise CheckpointError(f"there is no folder {path}", do=f"correct {reference} in the deployment file")
    return path.resolve()


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    download: Callable[..., str] = snapshot_download
    try:
        return Path(download(name, revision=revision, allow_patterns=list(_MODEL_FILES)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{name} is neither a folder here nor a model that Hugging Face gave us",
            do="check the name, the network, and HF_TOKEN for gated models",
            facts=(str(error).splitlines()[0],),
        ) from error
