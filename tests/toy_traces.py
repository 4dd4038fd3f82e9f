"""Hand-made traces for tests."""

import torch

from decoding.request import FinishReason, Origin, SamplingParams
from decoding.trace import SpeculationTrace


def make_trace(
    number: int = 0,
    topic: str | None = "sql",
    draft: str | None = "sql@v1",
    target: str = "t",
    tokens: int = 5,
    top: int = 3,
    highest: int = 1000,
    sampling: SamplingParams | None = None,
) -> SpeculationTrace:
    """A trace whose every figure follows from its number: ``number`` is its first token."""
    generator = torch.Generator().manual_seed(number)
    probs = torch.rand(tokens, generator=generator)
    return SpeculationTrace(
        token_ids=[number, 7, *range(highest - tokens + 1, highest + 1)],
        prompt_length=2,
        origins=[Origin.PLAIN, *([Origin.DRAFT, Origin.CORRECTED] * tokens)][:tokens],
        run_lengths=[1, *[2] * ((tokens - 1) // 2), *[1] * ((tokens - 1) % 2)],
        probs=probs,
        drawn_probs=probs.sqrt(),
        top_ids=torch.randint(highest, (tokens, top), generator=generator, dtype=torch.int32),
        top_probs=torch.rand(tokens, top, generator=generator).half(),
        sampling=sampling or SamplingParams(),
        finish_reason=FinishReason.LENGTH,
        topic=topic,
        draft=draft,
        target=target,
    )


def assert_same(first: SpeculationTrace, second: SpeculationTrace) -> None:
    """Every field, tensors to the last bit and in the same type."""
    for name in SpeculationTrace.__slots__:
        left, right = getattr(first, name), getattr(second, name)
        if isinstance(left, torch.Tensor):
            assert (left.dtype, left.shape) == (right.dtype, right.shape), name
            assert torch.equal(left, right), name
        else:
            assert left == right, name
