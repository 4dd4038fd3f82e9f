"""Which drafts of a deployment share a stack on its device: those of one shape, as far as there are places."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from decoding.config import ModelConfig
from decoding.device.model import DeviceModel
from decoding.device.stack import DraftStack, shape_of
from drafts.device_drafter import DeviceDrafter
from drafts.model_drafter import ModelDrafter
from drafts.stacked_drafter import StackedDrafter, StackedDrafts

logger = logging.getLogger(__name__)

_SPARE = 1  # places for versions that take over while the ones before are still compared with them
_SLOTS = 2  # of a stack's cache for each request that may run: merged drafts hold one each


class DraftStacks:
    """One stack for every shape that several drafts have; made when the first of them comes.

    A place is free when no drafter that is asked about has it; so places need no giving back. A draft that finds none,
    or is of a shape that was not foreseen, keeps the model of its own with which it comes.

    Args:
        known: the architectures of the deployment's drafts.
        num_slots: requests that may run at once.
        memory_bytes: that all stacks may take.
    """

    def __init__(self, known: Iterable[ModelConfig], num_slots: int, memory_bytes: int):
        known = list(known)
        self._num_slots, self._memory_bytes = num_slots, memory_bytes
        self._counts = {shape: n for shape, n in Counter(map(shape_of, known)).items() if n > 1}
        self._heads = {shape: _head_size([each for each in known if shape_of(each) == shape]) for shape in self._counts}
        self._stacks: dict[ModelConfig, StackedDrafts | None] = {}

    def settle(
        self, drafters: Mapping[str, ModelDrafter], kept: Collection[ModelDrafter] = ()
    ) -> dict[str, ModelDrafter]:
        """Bring drafts with models of their own to free places; the drafters that take over from theirs, by name.

        What a draft had cached of its requests is left behind; it reads them anew before its next proposal.

        Args:
            drafters: all that are in use.
            kept: others whose places are not free yet.
        """
        moved: dict[ModelDrafter, StackedDrafter] = {}
        for drafter in dict.fromkeys(drafters.values()):
            if type(drafter) is not DeviceDrafter:
                continue  # stacked already, or growing trees
            joint = self._stack_for(drafter.model)
            if joint is None or joint.stack.refusal(drafter.model.config) is not None:
                continue
            others = (*drafters.values(), *kept, *moved.values())
            taken = {each.place for each in others if isinstance(each, StackedDrafter) and each.joint is joint}
            place = next((place for place in range(len(joint.stack.drafts)) if place not in taken), None)
            if place is not None:
                model = joint.stack.exchange(place, drafter.model.config, drafter.model.network.weights)
                moved[drafter] = joint.drafter(model, drafter.prior)
        return {name: moved[drafter] for name, drafter in drafters.items() if drafter in moved}

    def _stack_for(self, model: DeviceModel) -> StackedDrafts | None:
        shape = shape_of(model.config)
        if shape in self._counts and shape not in self._stacks:
            self._stacks[shape] = self._stack(model, self._counts[shape] + _SPARE, self._heads[shape])
        return self._stacks.get(shape)

    def _stack(self, model: DeviceModel, wanted: int, head_size: int | None) -> StackedDrafts | None:
        """As many places as there is memory for; none at all where it would be one."""
        num_slots = _SLOTS * self._num_slots
        slot_bytes = model.cache.num_bytes // len(model.cache.lengths)
        weight_bytes = model.num_weight_bytes
        left = self._memory_bytes - sum(each.stack.num_bytes for each in self._stacks.values() if each is not None)
        places = min(wanted, (left - (num_slots + 1) * slot_bytes) // weight_bytes)
        if places < 2:
            logger.info("drafts.memory_mb has no room for a stack: drafts of several topics run one after the other")
            return None
        stack = DraftStack(model.config, places, num_slots, model.cache.max_length, model.placement, head_size)
        logger.info("drafts of one shape share a stack of %d places, %.0f MiB", places, stack.num_bytes / (1 << 20))
        return StackedDrafts(stack)


def _head_size(configs: Sequence[ModelConfig]) -> int | None:
    """Columns of the largest head; None where all are whole."""
    kept = [each.output_token_ids for each in configs]
    if all(each is None for each in kept):
        return None
    return max(config.vocab_size if each is None else len(each) for config, each in zip(configs, kept, strict=True))
