"""Rows of prompts, which a model may compute in a way of their own."""

import random

import pytest
import torch
from torch import Tensor

from decoding.load import load_model
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from tests.decoding.conftest import Checkpoint, transformers_logits

PROMPT = [int(value) for value in torch.randint(0, 61, (75,), generator=torch.Generator().manual_seed(1))]
OTHER = PROMPT[::-1]
ROOM = 128
DTYPES = {"half": torch.float16, "bfloat": torch.bfloat16, "float": torch.float32}


@pytest.fixture(
    params=[("native", "half", False), ("native", "bfloat", False), ("native", "half", True), ("torch", "half", False)]
)
def model(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> LanguageModel:
    """Stored in 16 bits, or rounded to 8, with widths that fill no tile."""
    backend, dtype, int8 = request.param
    return load_model(checkpoint("qwen3", DTYPES[dtype]), num_slots=8, max_length=ROOM, backend=backend, int8=int8)


def read(model: LanguageModel, token_ids: list[int], portions: list[int]) -> Tensor:
    """Logits of all tokens of a prompt that is read in portions."""
    slot, rows = model.cache.allocate(), []
    for size in portions:
        start = model.cache.lengths[slot]
        rows.append(model.forward([Span(slot, token_ids[start : start + size], is_prompt=True)]).clone())
        model.cache.commit(slot, range(size))
    model.cache.release(slot)
    return torch.cat(rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_prompt_reads_as_in_transformers(checkpoint: Checkpoint, family: str, dtype: str) -> None:
    """Within 1e-4 of the largest logit, biases included."""
    folder = checkpoint(family, DTYPES[dtype], hidden_size=72, intermediate_size=100)
    model = load_model(folder, num_slots=2, max_length=ROOM, backend="native")
    wanted = transformers_logits(folder, PROMPT)
    torch.testing.assert_close(read(model, PROMPT, [75]), wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)


@pytest.mark.parametrize("portions", [[1] * 75, [16, 16, 16, 27], [33, 42], [74, 1]])
def test_in_whatever_portions_a_prompt_is_read_its_bits_are_the_same(model: LanguageModel, portions: list[int]) -> None:
    """Which a busy step decides."""
    assert torch.equal(read(model, PROMPT, portions), read(model, PROMPT, [75]))


def test_a_prompt_and_an_answer_do_not_notice_each_other(model: LanguageModel) -> None:
    """Prompts before, between and behind rows of an answer and a tree: all rows as if alone."""
    alone = read(model, PROMPT, [75])
    slots = [model.cache.allocate() for _ in range(4)]
    tree = Span(slots[1], [5, 6, 7], parents=[-1, 0, 0])
    answer = Span(slots[2], OTHER[:3])
    expected = [model.forward([span]).clone() for span in (tree, answer)]
    spans = [Span(slots[0], PROMPT, is_prompt=True), tree, Span(slots[3], OTHER[:20], is_prompt=True), answer]
    found = model.forward(spans)
    assert torch.equal(found[:75], alone)
    assert torch.equal(found[75:78], expected[0])
    assert torch.equal(found[98:], expected[1])


def test_an_answer_is_the_same_in_whatever_company_its_prompt_was_read(model: LanguageModel) -> None:
    """Through the step loop, with prompts around the length from which they are read apart, in small portions."""
    draw = random.Random(2)
    prompts = [[draw.randrange(3, 61) for _ in range(length)] for length in (5, 31, 32, 33, 40, 75)]

    def answers(together: bool, max_rows: int) -> list[list[int]]:
        sampling = SamplingParams(temperature=1.0, max_tokens=20, stop_token_ids=frozenset({2}))
        requests = [Request(str(i), ids, sampling, SeededRandomness(i)) for i, ids in enumerate(prompts)]
        loop = StepLoop(model, {}, max_rows=max_rows)
        for batch in [requests] if together else [[request] for request in requests]:
            loop.run(batch)
        return [request.token_ids for request in requests]

    alone = answers(together=False, max_rows=256)
    assert alone == answers(together=True, max_rows=256) == answers(together=True, max_rows=7)


def test_short_prompts_are_read_as_an_answer_is(model: LanguageModel) -> None:
    """So the loop agrees with greedy decoding in one call."""
    slot = model.cache.allocate()
    (plain,) = model.draft([Span(slot, PROMPT[:20], logits_from=19)], [12])
    model.cache.release(slot)
    request = Request("1", PROMPT[:20], SamplingParams(max_tokens=12, temperature=0.0), SeededRandomness(0))
    StepLoop(model, {}).run([request])
    assert request.token_ids[20:] == plain
