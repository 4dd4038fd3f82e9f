"""Laws row by row: equal to the plain definition, and the same bits whatever shares the batch."""

import random

import pytest
import torch

from decoding.laws import laws
from decoding.processors import Block, process
from decoding.request import SamplingParams
from decoding.sampling import probabilities
from tests.reference_law import reference_law
from tests.toys import make_request


def random_params(seed, greedy=False):
    """Every setting on or off, independently."""
    draw = random.Random(seed)

    def maybe(value, off):
        return value if draw.random() < 0.5 else off

    ids = draw.sample(range(12), 3)
    return SamplingParams(
        temperature=0.0 if greedy else draw.uniform(0.2, 2.0),
        top_k=maybe(draw.randrange(1, 14), 0),
        top_p=maybe(draw.uniform(0.05, 0.99), 1.0),
        min_p=maybe(draw.uniform(0.0, 0.9), 0.0),
        repetition_penalty=maybe(draw.uniform(0.5, 2.0), 1.0),
        presence_penalty=maybe(draw.uniform(-2, 2), 0.0),
        frequency_penalty=maybe(draw.uniform(-2, 2), 0.0),
        logit_bias=maybe(tuple((token_id, draw.uniform(-5, 5)) for token_id in ids), ()),
    )


def random_block(seed, vocab_size, greedy=False):
    """A request in the middle of its answer, with a drafted tree of a few nodes."""
    draw = random.Random(seed)
    request = make_request([draw.randrange(vocab_size) for _ in range(4)], random_params(seed, greedy))
    request.token_ids += [draw.randrange(vocab_size) for _ in range(draw.randrange(6))]
    nodes = draw.randrange(5)
    parents = [draw.randrange(-1, node) for node in range(nodes)]
    return Block(request, [draw.randrange(vocab_size) for _ in range(nodes)], parents, range(-1, nodes))


def random_logits(seed, rows, vocab_size, dtype=torch.float64):
    return 3 * torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("seed", range(150))
def test_a_batch_of_laws_equals_the_plain_definition_row_by_row(seed):
    """Requests with different settings, each row having seen the drafted tokens on its own path."""
    blocks = [random_block(10 * seed + n, 12) for n in range(4)]
    logits = random_logits(seed, sum(len(block.nodes) for block in blocks), 12)
    rows = iter(logits.tolist())
    for block, law in zip(blocks, laws(logits, blocks), strict=True):
        assert isinstance(law, torch.Tensor)
        for row, probs in enumerate(law.tolist()):
            answer = [*block.request.generated, *reversed(list(block.path(row)))]
            expected = reference_law(next(rows), block.request.prompt_token_ids, answer, block.request.sampling)
            assert probs == pytest.approx(expected, abs=1e-12)


def test_rows_have_the_same_bits_whatever_shares_the_batch():
    """At the size of a real vocabulary and in float32: alone, beside others, in another order."""
    vocab_size = 4096
    blocks = [random_block(n, vocab_size, greedy=n % 5 == 0) for n in range(24)]
    logits = [random_logits(n, len(block.nodes), vocab_size, torch.float32) for n, block in enumerate(blocks)]
    alone = [laws(own, [block])[0] for own, block in zip(logits, blocks, strict=True)]
    for order in (list(range(24)), list(range(23, -1, -1)), [5, 3, 12], [7]):
        together = laws(torch.cat([logits[n] for n in order]), [blocks[n] for n in order])
        for n, law in zip(order, together, strict=True):
            expected = alone[n]
            assert law == expected if isinstance(law, list) else torch.equal(law, expected)


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.9}, {"top_k": 3}, {"min_p": 0.1}, {"presence_penalty": 1.0}])
def test_no_step_of_the_way_touches_the_models_logits(settings):
    """They are the model's own buffer, and log-probabilities are read from them afterwards."""
    logits = random_logits(0, 3, 8)
    before = logits.clone()
    request = make_request([1, 2], SamplingParams(temperature=1.0, **settings))
    laws(logits, [Block(request, [3, 4], [-1, 0], (-1, 0, 1))])
    assert torch.equal(logits, before)


def test_without_processors_logits_pass_as_they_are():
    """Not even copied."""
    logits = random_logits(0, 1, 8)
    assert process(logits, [Block(make_request([1], SamplingParams(temperature=1.0, top_k=2)))]) is logits


@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.99])
def test_a_nucleus_wider_than_the_shortcut_is_found_too(top_p):
    """Nearly flat laws keep hundreds of tokens; peaked rows beside them keep few, and no row changes another."""
    flat, peaked = random_logits(1, 1, 1000) / 10, random_logits(2, 1, 1000) * 3
    params = SamplingParams(temperature=1.0, top_p=top_p)
    law = probabilities(torch.cat([flat, peaked]), params)
    for row, logits in zip(law.tolist(), (flat, peaked), strict=True):
        assert row == pytest.approx(reference_law(logits[0].tolist(), [], [], params), abs=1e-12)
    assert int((law[0] > 0).sum()) > 64 > int((law[1] > 0).sum())


@pytest.mark.parametrize("settings", [{"top_p": 1e-300}, {"top_k": 1}, {"min_p": 1.0}, {"temperature": 1.1e-5}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sharpest_settings_leave_the_most_probable_token(settings, dtype):
    """Never nothing, and never a number that is none."""
    logits = random_logits(3, 5, 300, dtype)
    law = probabilities(logits, SamplingParams(**{"temperature": 1.0, **settings}))
    assert torch.equal(law.argmax(-1), logits.argmax(-1))
    assert law.amax(-1).tolist() == pytest.approx([1.0] * 5)


def test_equals_are_kept_or_cut_together():
    """A law must not hang on the order in which a sort meets equal tokens."""
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    for settings in ({"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.3}):
        law = probabilities(logits, SamplingParams(temperature=1.0, **settings))[0].tolist()
        assert law[1] == law[2] == law[3] > 0 == law[4]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("top_k", -1),
        ("top_p", 0.0),
        ("min_p", -0.01),
        ("min_p", 1.01),
        ("min_p", float("nan")),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("inf")),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("logit_bias", ((3, 101.0),)),
        ("logit_bias", ((3, float("nan")),)),
        ("logit_bias", ((-1, 1.0),)),
        ("logit_bias", ((3, 1.0), (3, 2.0))),
        ("num_logprobs", 21),
        ("num_logprobs", -1),
        ("max_tokens", 0),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    """Before they can turn a step into numbers that are none."""
    with pytest.raises(ValueError, match=field):
        SamplingParams(**{field: value})
