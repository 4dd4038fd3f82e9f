"""The drafters of a deployment by name, within a memory budget."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from decoding.drafter import Drafter
from decoding.model import LanguageModel
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup

logger = logging.getLogger(__name__)

GENERAL, LOOKUP = "general", "lookup"


@dataclass(frozen=True, slots=True)
class DraftSpec:
    """A draft that may be loaded: its folder has been checked against the target already."""

    name: str  # the topic, or "general"
    label: str  # "sql@v8"
    folder: Path
    alpha: float = 0.65  # chance that one of its tokens is accepted, as measured when it was made


class DraftPool(Mapping[str, Drafter]):
    """Loads drafts on first use and lets the least recently used go when memory runs short.

    The mapping holds what is loaded now; the step loop looks drafters up in it. `select` is asked when a
    request gets its draft and makes sure that the answer is in the mapping. The general draft is loaded
    at once and never leaves; neither does a draft that a running request uses, so the budget bounds what
    is kept beyond need.

    Args:
        specs: every draft of the deployment.
        load: makes the language model of a folder.
        prompt_lookup: whether proposals from the request's own text are allowed.
        memory_bytes: budget for weights and caches of all loaded drafts.
    """

    def __init__(
        self,
        specs: Mapping[str, DraftSpec],
        load: Callable[[Path], LanguageModel],
        prompt_lookup: bool = True,
        memory_bytes: int = 512 << 20,
    ):
        self.specs = dict(specs)
        self._load = load
        self._memory_bytes = memory_bytes
        self._lookup = PromptLookup() if prompt_lookup else None
        self._models: dict[str, ModelDrafter] = {}  # least recently used first
        if GENERAL in self.specs:
            self.select(GENERAL)

    def __getitem__(self, name: str) -> Drafter:
        if name == LOOKUP and self._lookup is not None:
            return self._lookup
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._models
        if self._lookup is not None:
            yield LOOKUP

    def __len__(self) -> int:
        return len(self._models) + (self._lookup is not None)

    @property
    def names(self) -> list[str]:
        """Every name that a request may ask for, loaded or not."""
        return [*self.specs, *([LOOKUP] if self._lookup is not None else [])]

    def label(self, name: str | None) -> str:
        """How replies and tables call a draft: with its version; "none" for nobody."""
        if name is None:
            return "none"
        return self.specs[name].label if name in self.specs else name

    def select(self, name: str) -> str | None:
        """The name under which a drafter for ``name`` is loaded now.

        A topic without a draft of its own gets the general one, then prompt lookup, then none at all.
        """
        for candidate in (name, GENERAL, LOOKUP):
            if candidate in self.specs:
                self._make_present(candidate)
                return candidate
            if candidate in self:
                return candidate
        return None

    def _make_present(self, name: str) -> None:
        if name in self._models:
            self._models[name] = self._models.pop(name)
            return
        self._models[name] = ModelDrafter(self._load(self.specs[name].folder), self.specs[name].alpha)
        for idle in [other for other in self._models if other not in (name, GENERAL)]:
            if self.used_bytes <= self._memory_bytes:
                break
            if not self._models[idle].num_requests:
                del self._models[idle]
                logger.info("draft %s left memory", self.label(idle))

    @property
    def used_bytes(self) -> int:
        """Memory of the loaded drafts, caches included."""
        return sum(drafter.num_bytes for drafter in self._models.values())
