"""Step loops over toy models."""

import random

from decoding.proposal import Proposal
from decoding.request import Origin
from decoding.step_loop import StepLoop
from drafts.expansion import Expansion
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.tree_drafter import TreeDrafter
from tests.toys import ToyModel


class RandomTrees:
    """Proposes a random tree of the wished depth, regardless of any model."""

    origin = Origin.DRAFT

    def __init__(self, vocab_size: int, seed: int = 0):
        self._vocab_size, self._random = vocab_size, random.Random(seed)

    def propose(self, requests, num_draft_tokens):
        return [self._tree(depth) for depth in num_draft_tokens]

    def _tree(self, depth):
        token_ids, parents, depths = [], [], []
        while len(token_ids) < 3 * depth:
            parent = self._random.randrange(-1, len(token_ids))
            if (depths[parent] if parent >= 0 else 0) < depth:
                depths.append((depths[parent] if parent >= 0 else 0) + 1)
                parents.append(parent)
                token_ids.append(self._random.randrange(self._vocab_size))
        return Proposal(token_ids, parents)

    def num_nodes(self, num_draft_tokens):
        return 3 * num_draft_tokens

    def commit(self, request, path):
        pass

    def release(self, request_id):
        pass


def loop_with(target, vocab_size, draft_seed=7, **options):
    """A loop whose drafters are a draft model, the target's twin, prompt lookup, random trees and drawn ones."""
    drafters = {
        "model": ModelDrafter(ToyModel(vocab_size, draft_seed)),
        "twin": ModelDrafter(ToyModel(vocab_size, target._seed)),
        "lookup": PromptLookup(),
        "tree": RandomTrees(vocab_size),
        "drawn tree": TreeDrafter(ToyModel(vocab_size, draft_seed), Expansion((2, 1))),
    }
    return StepLoop(target, drafters, **options)
