"""What a deployment comes to on this machine: every reference resolved to a folder and checked, nothing loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import accumulate, takewhile
from pathlib import Path

from configs.errors import ConfigError, IncompatibleDraft
from decoding.acceptance import Prior
from decoding.checkpoint import fingerprint, read_config
from decoding.device.placement import CPU, Placement, place
from drafts.compatibility import check_draft
from drafts.expansion import Expansion
from drafts.pool import AND, GENERAL, LOOKUP, DraftSpec
from drafts.section import CanarySection, DraftSource
from registry.figures import by_position
from serving.config import Deployment
from serving.deployment import STARTER, Resolved, Resolver
from serving.traces import TracePlan, plan_traces

_MOST_HASHED_BYTES = 1 << 30  # hashing a large target would cost more than knowing that a draft is stale is worth


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
    num_draft_tokens: int | None  # None is automatic
    expansion: Expansion | None  # None for chains
    router: Path | None
    embedding: str
    router_max_tokens: int
    min_confidence: float | None
    router_label: str = ""  # such as router@v1
    traces: TracePlan | None = None  # None traces nothing
    placement: Placement = CPU
    canary: CanarySection = field(default_factory=CanarySection)
    audit_share: float = 0.0
    router_cores: frozenset[int] | None = None  # where its process may run; None is anywhere

    @property
    def draft_names(self) -> tuple[str, ...]:
        """What a request may ask for by name."""
        return (*self.drafts, *((LOOKUP,) if self.prompt_lookup else ()))


def make_plan(deployment: Deployment, starter: Path = STARTER) -> Plan:
    """Resolve and check a deployment; imports the starter into the registry on first use.

    Raises:
        PolydraftError: the first thing that cannot be used, in the class of its room.
    """
    target, router = deployment.target, deployment.router
    resolver = Resolver(deployment, starter)
    folder = resolver.resolve(target.model, "target", target.revision).folder
    config = read_config(folder, target.max_length)
    if target.max_length > config.max_position_embeddings:
        raise ConfigError(
            f"target.max_length is {target.max_length}; {target.model} holds {config.max_position_embeddings} tokens"
        )
    if config.output_token_ids is not None:
        what = f"the head of {target.model} covers {len(config.output_token_ids)} of {config.vocab_size} tokens"
        raise ConfigError(what, do="serve it as a draft; a target needs its whole vocabulary")
    found = resolver.resolve(router.model, "router") if router else None
    return Plan(
        target=folder,
        slots=target.slots,
        max_length=target.max_length,
        vocab_size=config.vocab_size,
        end_token_ids=frozenset(config.eos_token_ids),
        drafts=_drafts(deployment, resolver, folder),
        prompt_lookup=deployment.drafts.prompt_lookup,
        draft_memory_bytes=deployment.drafts.memory_mb << 20,
        num_draft_tokens=deployment.decoding.num_draft_tokens,
        expansion=deployment.decoding.expansion,
        router=found.folder if found else None,
        embedding=router.embedding if router else "",
        router_max_tokens=router.max_tokens if router else 0,
        min_confidence=router.min_confidence if router else None,
        router_label=found.label if found else "",
        traces=plan_traces(deployment.traces, deployment.name, partial(fingerprint, folder), folder),
        placement=place(target.device, target.dtype, target.exact),
        canary=deployment.drafts.canary,
        audit_share=deployment.serving.audit_share,
    )


def check_version(deployment: Deployment, draft: Resolved) -> None:
    """Return if ``draft`` may propose for the deployment's target.

    Raises:
        IncompatibleDraft: it was made for another tokenizer, target or vocabulary; the first difference is named.
    """
    target = deployment.target
    folder = Resolver(deployment).resolve(target.model, "target", target.revision).folder
    _check(draft, folder, _fingerprint(folder) if "target" in draft.tags else None)


def _drafts(deployment: Deployment, resolver: Resolver, target: Path) -> dict[str, DraftSpec]:
    sources = draft_sources(deployment)
    if LOOKUP in sources:
        raise ConfigError(f"no topic can be called {LOOKUP}: it is the name of prompt lookup")
    joined = next((name for name in sources if AND in name), None)
    if joined is not None:
        raise ConfigError(f"no topic can be called {joined}: {AND} joins the names of several drafts")
    if deployment.decoding.tree is not None and not sources:
        raise ConfigError("decoding.tree: there is no draft to grow it; name one under drafts, or leave tree out")
    found = {name: resolver.resolve(source.model, name) for name, source in sources.items()}
    hashed = _fingerprint(target) if any("target" in draft.tags for draft in found.values()) else None
    for draft in found.values():
        _check(draft, target, hashed)
    return {name: spec_of(name, draft) for name, draft in found.items()}


def draft_sources(deployment: Deployment) -> dict[str, DraftSource]:
    """Where every draft of a deployment comes from, by the name that requests use; the general one first."""
    drafts = deployment.drafts
    return {**({GENERAL: drafts.general} if drafts.general else {}), **drafts.topics}


def spec_of(name: str, draft: Resolved) -> DraftSpec:
    """What the pool needs to know of a version."""
    return DraftSpec(name, draft.label, draft.folder, prior_of(draft.tags))


def _check(draft: Resolved, target: Path, target_fingerprint: str | None) -> None:
    check_draft(draft.folder, target, draft.tags, label=draft.label, target_fingerprint=target_fingerprint)
    ours, theirs = read_config(target).vocab_size, read_config(draft.folder).vocab_size
    if ours != theirs:
        raise IncompatibleDraft(
            f"{draft.label} has {theirs} token embeddings, the target {ours}",
            do="distil the draft for this target, or serve the target that it was made for",
        )


def prior_of(tags: Mapping[str, str]) -> Prior:
    """The acceptance that a version was registered with; what is missing there, or no chance, is left out."""
    alpha, alpha_t1 = _chance(tags.get("alpha")), _chance(tags.get("alpha_t1"))
    if alpha is None:
        return Prior()
    try:
        positions = by_position(tags.get("acceptance_by_position", ""))
    except ValueError:
        positions = []
    # Each was counted over other texts, so that a later one may be a hair above the one before.
    falling = takewhile(lambda chance: 0 < chance <= 1, accumulate(positions, min))
    return Prior(alpha, alpha_t1, tuple(falling))


def _chance(text: str | None) -> float | None:
    try:
        chance = float(text or "")
    except ValueError:
        return None
    return chance if 0 < chance < 1 else None


def _fingerprint(target: Path) -> str | None:
    found = [(file, file.stat()) for file in sorted(target.glob("*.safetensors"))]
    if sum(stat.st_size for _, stat in found) > _MOST_HASHED_BYTES:
        return None
    return _hashed(target, tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in found))


@lru_cache(maxsize=4)
def _hashed(target: Path, _files: tuple[tuple[Path, int, int], ...]) -> str:
    """Read once, not once a version that comes while serving, as long as the files are the same."""
    return fingerprint(target)
