"""What a deployment comes to on this machine: every reference resolved to a folder and checked, nothing loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.errors import CheckpointError, ConfigError
from decoding.checkpoint import read_config
from drafts.pool import GENERAL, LOOKUP, DraftSpec
from registry.starter import import_starter
from registry.store import Registry
from serving.compatibility import check_draft
from serving.config import Deployment

STARTER = Path(__file__).resolve().parent.parent / "starter"
_REGISTRY, _STARTER = "registry://", "starter://"
_MODEL_FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the worker loads. Folders exist; drafts fit the target."""

    target: Path
    slots: int
    max_length: int
    vocab_size: int
    end_token_ids: frozenset[int]
    drafts: dict[str, DraftSpec]
    prompt_lookup: bool
    draft_memory_bytes: int
    num_draft_tokens: int
    router: Path | None
    embedding: str
    router_max_tokens: int
    min_confidence: float | None

    @property
    def draft_names(self) -> tuple[str, ...]:
        """What a request may ask for by name."""
        return (*self.drafts, *((LOOKUP,) if self.prompt_lookup else ()))


def make_plan(deployment: Deployment, starter: Path = STARTER) -> Plan:
    """Resolve and check a deployment; imports the starter into the registry on first use.

    Raises:
        PolydraftError: the first thing that cannot be used, in the class of its room.
    """
    target, drafts, router = deployment.target, deployment.drafts, deployment.router
    resolver = _Resolver(deployment, starter)
    folder = resolver.folder(target.model, target.revision)
    config = read_config(folder, target.max_length)
    if target.max_length > config.max_position_embeddings:
        raise ConfigError(
            f"target.max_length is {target.max_length}; {target.model} holds {config.max_position_embeddings} tokens"
        )
    sources = {**({GENERAL: drafts.general} if drafts.general else {}), **drafts.topics}
    specs = {name: resolver.draft(name, source.model) for name, source in sources.items()}
    for spec in specs.values():
        check_draft(spec, folder, config)
    return Plan(
        target=folder,
        slots=target.slots,
        max_length=target.max_length,
        vocab_size=config.vocab_size,
        end_token_ids=frozenset(config.eos_token_ids),
        drafts=specs,
        prompt_lookup=drafts.prompt_lookup,
        draft_memory_bytes=drafts.memory_mb << 20,
        num_draft_tokens=deployment.decoding.num_draft_tokens,
        router=resolver.folder(router.model) if router else None,
        embedding=router.embedding if router else "",
        router_max_tokens=router.max_tokens if router else 0,
        min_confidence=router.min_confidence if router else None,
    )


class _Resolver:
    """Turns references into folders; opens the registry when the first one asks for it."""

    def __init__(self, deployment: Deployment, starter: Path):
        self._deployment, self._starter = deployment, starter
        self._registry: Registry | None = None

    def folder(self, reference: str, revision: str | None = None) -> Path:
        """The folder that a model reference means."""
        if reference.startswith(_REGISTRY):
            return self._opened().resolve(reference).folder
        if reference.startswith(_STARTER):
            return _existing(self._starter / reference.removeprefix(_STARTER), reference)
        path = Path(reference).expanduser()
        if path.exists() or reference.startswith(("/", ".", "~")):
            return _existing(path, reference)
        return _from_hub(reference, revision)

    def draft(self, name: str, reference: str) -> DraftSpec:
        """A draft and how replies call it."""
        if name == LOOKUP:
            raise ConfigError(f"no topic can be called {LOOKUP}: it is the name of prompt lookup")
        if reference.startswith(_REGISTRY):
            version = self._opened().resolve(reference)
            return DraftSpec(name, version.label, version.folder)
        return DraftSpec(name, name, self.folder(reference))

    def _opened(self) -> Registry:
        if self._registry is None:
            self._registry = Registry.open(self._deployment.registry)
            if self._deployment.target.model.startswith(_STARTER):
                import_starter(self._registry, self._starter)
        return self._registry


def _existing(path: Path, reference: str) -> Path:
    if not path.is_dir():
        raise CheckpointError(f"there is no folder {path}", do=f"correct {reference} in the configuration")
    return path.resolve()


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    download: Callable[..., str] = snapshot_download
    try:
        return Path(download(name, revision=revision, allow_patterns=list(_MODEL_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{name} is neither a folder here nor a model that Hugging Face gave us",
            do="check the name, the network, and HF_TOKEN for gated models",
            facts=(reason,),
        ) from error
