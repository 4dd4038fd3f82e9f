"""Every kind of drafter over the drafts of a deployment, whose versions may change while requests use them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from decoding.drafter import Drafter
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.pool import LOOKUP, DraftPool
from drafts.tree_drafter import TreeDrafter

TREES = ((3, 2, 1), (2, 2, 2, 1))
_TREE, _MERGED = "tree ", "merged "


class Company:
    """Every draft as a chain and as a tree, neighbours merged, and prompt lookup.

    Attributes:
        drafters: by name, for a step loop; entries change under it.
    """

    def __init__(self, pool: DraftPool):
        for name in pool.names:
            pool.select(name)
        self._pool = pool
        drafts = [name for name in pool.names if pool.current(name) is not None]
        self._versions = [pool.specs[name] for name in drafts]
        self._parts: dict[str, tuple[str, ...]] = {name: (name,) for name in drafts}
        self._parts |= {f"{_TREE}{name}": (name,) for name in drafts}
        self._parts |= {f"{_MERGED}{one}, {other}": (one, other) for one, other in pairwise(drafts)}
        self.drafters: dict[str, Drafter] = {name: self._made(name) for name in self._parts}
        if LOOKUP in pool:
            self.drafters[LOOKUP] = pool[LOOKUP]

    def parts(self, drafter: str | None) -> Sequence[str]:
        """The drafts that a drafter stands on; none of prompt lookup and of nobody."""
        return self._parts.get(drafter or "", ())

    def kind(self, drafter: str | None) -> str:
        """chain, tree, merged, lookup or none."""
        if drafter is None or drafter == LOOKUP:
            return drafter or "none"
        return "tree" if drafter.startswith(_TREE) else "merged" if drafter.startswith(_MERGED) else "chain"

    def replace(self, name: str, draws: random.Random) -> None:
        """Let other weights propose under the name of a draft from the next step on, as when serving swaps versions.

        They are those of another draft of the deployment: it has no second version of each. Where there is no other
        draft, its own are loaded anew, without anything that was cached.
        """
        now = self._pool.specs[name]
        others = [version for version in self._versions if version.folder != now.folder]
        other = draws.choice(others or [now])
        version = replace(other, name=name, label=f"{name} by {other.folder.name}")
        self._pool.replace(version, self._pool.loaded(version))
        for drafter, parts in self._parts.items():
            if name in parts:
                self.drafters[drafter] = self._made(drafter)

    def _made(self, drafter: str) -> Drafter:
        parts = self._parts[drafter]
        models = {name: current[1] for name in parts if (current := self._pool.current(name)) is not None}
        if drafter in parts:
            return models[drafter]
        if len(parts) > 1:
            return MergedDrafter(models)
        (name,) = parts
        expansion = Expansion(TREES[list(self._parts).index(name) % len(TREES)])
        return TreeDrafter(models[name].model, expansion)
