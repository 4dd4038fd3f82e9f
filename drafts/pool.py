"""The drafters of a deployment by name, within a memory budget."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from decoding.acceptance import Prior
from decoding.device.model import DeviceModel
from decoding.drafter import Drafter
from decoding.model import LanguageModel
from decoding.native.memory import give_back
from drafts.device_drafter import DeviceDrafter
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.soundness import check_sound
from drafts.stacks import DraftStacks
from drafts.tree_drafter import TreeDrafter

logger = logging.getLogger(__name__)

GENERAL, LOOKUP = "general", "lookup"
AND = "+"  # "sql+general" asks both drafts and merges what they propose


@dataclass(frozen=True, slots=True)
class DraftSpec:
    """A draft that may be loaded: its folder has been checked against the target already."""

    name: str  # the topic, or "general"
    label: str  # "sql@v8"
    folder: Path
    prior: Prior = field(default_factory=Prior)  # how often its tokens are accepted, as measured when it was made


class DraftPool(Mapping[str, Drafter]):
    """Loads drafts on first use, or before, and lets the least recently used go when memory runs short.

    The mapping holds what is loaded now; the step loop looks drafters up in it. `select` is asked when a
    request gets its draft and makes sure that the answer is in the mapping. The general draft is loaded
    at once and never leaves; neither does a draft that a running request uses, so the budget bounds what
    is kept beyond need. A name such as ``sql+general`` stands for several drafts whose proposals are merged.

    Args:
        specs: every draft of the deployment.
        load: makes the language model of a folder.
        prompt_lookup: whether proposals from the request's own text are allowed.
        memory_bytes: budget for weights and caches of all loaded drafts.
        expansion: the trees that drafts grow; None for chains.
        stacks: where drafts of one shape come together on a device; None where each keeps a model of its own.
    """

    def __init__(
        self,
        specs: Mapping[str, DraftSpec],
        load: Callable[[Path], LanguageModel],
        prompt_lookup: bool = True,
        memory_bytes: int = 512 << 20,
        expansion: Expansion | None = None,
        stacks: DraftStacks | None = None,
    ):
        self.specs = dict(specs)
        self._load = load
        self._memory_bytes = memory_bytes
        self._expansion, self._stacks = expansion, stacks
        self._lookup = PromptLookup() if prompt_lookup else None
        self._models: dict[str, ModelDrafter] = {}  # least recently used first
        self._merged: dict[str, MergedDrafter] = {}
        self._held: set[str] = set()  # versions that were replaced
        if GENERAL in self.specs:
            self.select(GENERAL)

    def __getitem__(self, name: str) -> Drafter:
        if name == LOOKUP and self._lookup is not None:
            return self._lookup
        return self._merged[name] if name in self._merged else self._models[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._models
        yield from self._merged
        if self._lookup is not None:
            yield LOOKUP

    def __len__(self) -> int:
        return len(self._models) + len(self._merged) + (self._lookup is not None)

    @property
    def names(self) -> list[str]:
        """Every name that a request may ask for, loaded or not."""
        return [*self.versions, *([LOOKUP] if self._lookup is not None else [])]

    @property
    def versions(self) -> dict[str, str]:
        """The version behind every name, such as ``sql@v3`` of ``sql``; without those that are held."""
        return {name: spec.label for name, spec in self.specs.items() if name not in self._held}

    def label(self, name: str | None) -> str:
        """How replies and tables call a draft: with its version; "none" for nobody."""
        if name is None:
            return "none"
        return AND.join(self.specs[part].label if part in self.specs else part for part in name.split(AND))

    def select(self, name: str) -> str | None:
        """The name under which a drafter for ``name`` is loaded now.

        A topic without a draft of its own gets the general one, then prompt lookup, then none at all.
        """
        for candidate in (name, GENERAL, LOOKUP):
            parts = candidate.split(AND)
            if all(part in self.specs for part in parts):
                self._make_present(parts)
                if len(parts) > 1:
                    self._merged.setdefault(candidate, MergedDrafter({part: self._models[part] for part in parts}))
                return candidate
            if candidate in self:
                return candidate
        return None

    def preload(self) -> None:
        """Load drafts before they are asked for, in the order of their names, for as long as memory is left.

        Later each would be loaded between two steps, which all requests would wait for.
        """
        for name, spec in self.specs.items():
            if name in self._models:
                continue
            self._models[name] = self._drafter(spec)
            self._settle()
            if self.used_bytes > self._memory_bytes:
                logger.info("drafts.memory_mb has no room for %s now: it is loaded when it is asked for", spec.label)
                del self._models[name]
                return

    def loaded(self, spec: DraftSpec) -> ModelDrafter:
        """A drafter for another version of a draft, beside the one that serves; may run in a thread of its own.

        Raises:
            CheckpointError: the folder cannot be used.
            IncompatibleDraft: its weights make no numbers.
        """
        try:
            drafter = self._drafter(spec)
            check_sound(drafter.model, spec.label)
            return drafter
        finally:
            give_back()

    def replace(self, spec: DraftSpec, drafter: ModelDrafter) -> None:
        """From now on ``drafter`` proposes under the name of ``spec``, also for requests that run.

        What the old version had cached of their texts is stale and goes with it; the new one reads them anew
        before its first proposal.
        """
        self.specs[spec.name] = spec
        if spec.name not in self._models:
            return  # nobody uses it; loaded again when somebody does
        before = self._models[spec.name]
        before.clear()
        self._models[spec.name] = drafter
        self._merge_anew([spec.name])
        self._settle([before])  # which may yet be held

    def hold(self, spec: DraftSpec, drafter: ModelDrafter) -> str:
        """Keep a version that was replaced beside the new one, under its label; returns that."""
        drafter.clear()
        held = replace(spec, name=spec.label)
        self.specs[held.name], self._models[held.name] = held, drafter
        self._held.add(held.name)
        return held.name

    def let_go(self, label: str) -> None:
        """Drop what `hold` kept. Nobody may use it any more."""
        del self.specs[label]
        drafter = self._models.pop(label, None)
        if drafter is not None and drafter not in self._models.values():
            drafter.clear()
        self._held.discard(label)
        self._settle()

    def current(self, name: str) -> tuple[DraftSpec, ModelDrafter] | None:
        """What proposes under a name now; None where it is not loaded."""
        return (self.specs[name], self._models[name]) if name in self._models else None

    def _make_present(self, names: Sequence[str]) -> None:
        for name in names:
            known = name in self._models
            self._models[name] = self._models.pop(name) if known else self._drafter(self.specs[name])
        self._settle()
        for idle in [other for other in self._models if other not in (*names, GENERAL, *self._held)]:
            if self.used_bytes <= self._memory_bytes:
                break
            if not self._is_used(idle):
                self._drop(idle)
        self._settle()  # where others have left

    def _settle(self, kept: Sequence[ModelDrafter] = ()) -> None:
        """Let drafts that have come, or found no place before, join those of their shape."""
        if self._stacks is not None:
            moved = self._stacks.settle(self._models, kept)
            self._models.update(moved)
            self._merge_anew(moved)

    def _merge_anew(self, changed: Collection[str]) -> None:
        for merged in self._merged:
            parts = merged.split(AND)
            if any(part in changed for part in parts):
                self._merged[merged] = MergedDrafter({part: self._models[part] for part in parts})

    def _drafter(self, spec: DraftSpec) -> ModelDrafter:
        model = self._load(spec.folder)
        if self._expansion is not None:
            return TreeDrafter(model, self._expansion, spec.prior)
        return DeviceDrafter(model, spec.prior) if isinstance(model, DeviceModel) else ModelDrafter(model, spec.prior)

    def _is_used(self, name: str) -> bool:
        """By a request of its own, or by one that has it merged with another."""
        together = {part for merged in self._merged if name in merged.split(AND) for part in merged.split(AND)}
        return any(self._models[part].num_requests for part in {name, *together})

    def _drop(self, name: str) -> None:
        del self._models[name]
        self._merged = {merged: drafter for merged, drafter in self._merged.items() if name not in merged.split(AND)}
        logger.info("draft %s left memory", self.label(name))

    @property
    def used_bytes(self) -> int:
        """Memory of the loaded drafts, caches included."""
        return sum(drafter.num_bytes for drafter in {*self._models.values()})
