"""Which prompts are held out for the gate: decided by the prompt alone, so once and for all."""

import hashlib

from decoding.trace import SpeculationTrace

_TENTHS = 10


def is_held_out(trace: SpeculationTrace, share: float) -> bool:
    """Whether nobody may train on ``trace``: true for ``share`` of all prompts, and for every answer to them.

    A share of a fifth is what `polydraft distill --traces` does not learn from either
    (`training.distillation.material`), so that its drafts, too, may come before the gate.
    """
    digest = hashlib.sha256(repr(trace.token_ids[: trace.prompt_length]).encode()).digest()
    within = int.from_bytes(digest[1:9], "big") / (1 << 64)
    return (digest[0] % _TENTHS + within) / _TENTHS < share
