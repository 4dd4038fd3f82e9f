"""Stacked drafts say what each of them says alone; here on the CPU, captured and not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from decoding.config import ModelConfig
from decoding.device.drafting import Layout
from decoding.device.graphs import Graphs
from decoding.device.model import DeviceModel
from decoding.device.placement import CPU, Placement
from decoding.device.rows import SPARE_SLOT
from decoding.device.stack import DraftStack
from decoding.request import SamplingParams
from decoding.span import Span
from tests.decoding.device.recorded import recorded_graphs
from tests.decoding.device.tiny import CONFIG, TOKEN_IDS, tiny_model, tiny_stack

close = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)
EVEN = tuple(range(0, 61, 2))
KEPT: list[tuple[int, ...] | None] = [(3, 4, 5, 9, 11), EVEN, None]  # the third one's head is whole
SHAPES = {
    "llama": CONFIG,
    "without biases, tied": replace(CONFIG, attention_bias=False, tie_embeddings=True),
    "all biases, norms of heads": replace(CONFIG, output_bias=True, mlp_bias=True, qk_norm=True),
}
BFLOAT16 = Placement(torch.device("cpu"), torch.bfloat16)
SAMPLED = [SamplingParams(temperature=1.0), SamplingParams(temperature=0.7, top_p=0.8), SamplingParams()]
# Of each request its draft, the tokens that it is to be fed, and the tokens that it wants.
BATCHES = {
    "one each": [(0, 2, 3), (1, 1, 3), (2, 2, 3)],
    "ragged": [(2, 7, 1), (0, 1, 5), (2, 1, 4), (1, 3, 2), (2, 2, 2)],
    "one draft only": [(1, 2, 4), (1, 1, 2)],
    "one request": [(2, 1, 3)],
    "much to catch up with": [(0, 30, 3), (1, 1, 3), (1, 9, 2)],
}


def drafts_of(config: ModelConfig = CONFIG, is_trimmed: bool = False, placement: Placement = CPU) -> list[DeviceModel]:
    """Three drafts of one shape, with heads of several sizes if they are trimmed."""
    kept = KEPT if is_trimmed else [None] * 3
    return [
        tiny_model(seed, replace(config, output_token_ids=kept[seed]), placement, num_slots=8, max_length=400)
        for seed in range(3)
    ]


def stack_of(
    drafts: Sequence[DeviceModel],
    captured: bool = False,
    is_trimmed: bool = False,
    num_places: int = 5,
    placement: Placement = CPU,
) -> DraftStack:
    """The same ones stacked; two places are empty."""
    graphs = recorded_graphs() if captured else None
    head_size = 61 if is_trimmed else None
    return tiny_stack(drafts, num_places, placement, graphs, num_slots=8, max_length=400, head_size=head_size)


def spans_of(batch: Sequence[tuple[int, int, int]], turn: int) -> list[Span]:
    return [
        Span(slot, [TOKEN_IDS[(5 * slot + turn + n) % 48] for n in range(count)], logits_from=count - 1)
        for slot, (_, count, _) in enumerate(batch, start=1)
    ]


def noise_of(batch: Sequence[tuple[int, int, int]], turn: int) -> list[list[float]]:
    generator = torch.Generator().manual_seed(turn)
    return [torch.rand(length, generator=generator).tolist() for *_, length in batch]


def alone(
    drafts: Sequence[DeviceModel],
    batch: Sequence[tuple[int, int, int]],
    spans: Sequence[Span],
    params: Sequence[SamplingParams],
    noise: Sequence[Sequence[float]],
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Tokens and laws of each request, each draft by itself."""
    tokens: list[Tensor] = [torch.empty(0)] * len(batch)
    laws: list[Tensor | None] = [None] * len(batch)
    for place, draft in enumerate(drafts):
        own = [i for i, (wanted, *_) in enumerate(batch) if wanted == place]
        if own:
            found = draft.draft_chains(
                [spans[i] for i in own],
                [batch[i][2] for i in own],
                [params[i] for i in own],
                [noise[i] for i in own] if noise else [],
            )
            for row, i in enumerate(own):
                tokens[i] = found[0][row, : batch[i][2]]
                laws[i] = None if found[1] is None else found[1][row, : batch[i][2]]
    return tokens, laws


def check_batch(stack: DraftStack, drafts: Sequence[DeviceModel], name: str, is_drawn: bool) -> None:
    """Several turns of one batch: tokens, laws and lengths are those of the drafts alone; tokens are taken back."""
    batch = BATCHES[name]
    for turn in range(3):
        spans = spans_of(batch, turn)
        params = [SAMPLED[n % 2] if is_drawn else SamplingParams() for n in range(len(batch))]
        noise = noise_of(batch, turn) if is_drawn else []
        places, lengths = [place for place, *_ in batch], [length for *_, length in batch]
        tokens, laws = stack.draft_chains(places, spans, lengths, params, noise)
        expected, expected_laws = alone(drafts, batch, spans, params, noise)
        for row, (place, _, length) in enumerate(batch):
            slot = row + 1
            assert tokens[row, :length].tolist() == expected[row].tolist(), (name, turn, row)
            if laws is not None:
                close(laws[row, :length], expected_laws[row])
            assert stack.cache.lengths[slot] == drafts[place].cache.lengths[slot]
            for cache in (stack.cache, drafts[place].cache):
                cache.rollback(slot, cache.lengths[slot] - length // 2 if turn < 2 else 0)


@pytest.mark.parametrize("is_drawn", [False, True])
@pytest.mark.parametrize(("captured", "is_trimmed"), [(False, False), (False, True), (True, True)])
def test_each_request_gets_what_its_draft_alone_says(is_drawn: bool, captured: bool, is_trimmed: bool) -> None:
    """Batches of any mixture follow one another; heads of several sizes; greedy tokens, drawn ones with their laws."""
    drafts = drafts_of(is_trimmed=is_trimmed)
    stack = stack_of(drafts, captured, is_trimmed)
    for name in ["one each", "ragged", "much to catch up with"] if captured else BATCHES:
        check_batch(stack, drafts, name, is_drawn)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_trimmed", [False, True])
def test_shapes_of_all_kinds_stack(shape: str, is_trimmed: bool) -> None:
    """With and without biases and norms of heads; heads of their own and tied ones."""
    drafts = drafts_of(SHAPES[shape], is_trimmed)
    check_batch(stack_of(drafts, is_trimmed=is_trimmed), drafts, "ragged", is_drawn=True)


def test_bfloat16_stays_near_the_single_model() -> None:
    """Rounded once more in the norms: laws are near, not equal."""
    drafts = drafts_of(placement=BFLOAT16)
    stack = stack_of(drafts, placement=BFLOAT16)
    spans, params = spans_of(BATCHES["one each"], 0), [SamplingParams(temperature=1.0)] * 3
    noise = noise_of(BATCHES["one each"], 0)
    _, laws = stack.draft_chains([0, 1, 2], spans, [1, 1, 1], params, [each[:1] for each in noise])
    assert laws is not None
    for place, draft in enumerate(drafts):
        _, expected = draft.draft_chains([spans[place]], [1], params[:1], [noise[place][:1]])
        assert expected is not None
        assert (laws[place, 0] - expected[0, 0]).abs().sum() < 0.1


def test_a_stack_of_one_is_that_draft() -> None:
    """One place, one draft."""
    drafts = drafts_of()[1:2]
    stack = stack_of(drafts, captured=True, num_places=1)
    spans = spans_of([(0, 2, 3), (0, 1, 2)], 0)
    found, _ = stack.draft_chains([0, 0], spans, [3, 2], [SamplingParams()] * 2, [])
    expected, _ = drafts[0].draft_chains(spans, [3, 2], [SamplingParams()] * 2, [])
    assert found[0].tolist() == expected[0].tolist()
    assert found[1, :2].tolist() == expected[1, :2].tolist()


def test_a_place_is_a_model_of_its_own() -> None:
    """Forwards, trees and loops of one draft run on its place, beside loops of the whole stack."""
    drafts = drafts_of(is_trimmed=True)
    stack = stack_of(drafts, captured=True, is_trimmed=True)
    for place, draft in enumerate(drafts):
        own, slot = stack.drafts[place], place + 1
        close(own.forward([Span(slot, TOKEN_IDS[:5])]), draft.forward([Span(slot, TOKEN_IDS[:5])]))
        tree = Span(slot, [3, 4, 5, 6], [-1, 0, 0, -1])
        close(own.forward([tree]), draft.forward([tree]))
        assert own.draft([Span(slot, [7, 8], logits_from=1)], [4]) == draft.draft(
            [Span(slot, [7, 8], logits_from=1)], [4]
        )
        assert own.num_weight_bytes >= draft.num_weight_bytes
        assert own.config == draft.config


@pytest.mark.parametrize("is_trimmed", [False, True])
def test_a_version_is_exchanged_in_place_and_the_others_keep_their_bits(is_trimmed: bool) -> None:
    """In mid-stream, at the old addresses: no loop is recorded anew, the neighbours' tokens, laws and cache stay."""
    drafts = drafts_of(is_trimmed=is_trimmed)
    swapped, kept = (stack_of(drafts, True, is_trimmed) for _ in range(2))
    batch, params = BATCHES["one each"], [SAMPLED[0]] * 3
    tokens = (3, 8, 20, 33, 60) if is_trimmed else None
    newer = tiny_model(7, replace(CONFIG, output_token_ids=tokens), num_slots=8, max_length=400)
    addresses = [tensor.data_ptr() for tensor in swapped.drafts[1].network.weights._body()]
    for turn in range(6):
        if turn == 3:
            recorded = len(swapped.graphs)
            swapped.exchange(1, newer.config, newer.network.weights)
            swapped.cache.rollback(2, 0)
        spans, noise = spans_of(batch, turn), noise_of(batch, turn)
        both = [stack.draft_chains([0, 1, 2], spans, [3] * 3, params, noise) for stack in (swapped, kept)]
        for mine, theirs in zip(*both, strict=True):
            assert mine is not None
            assert theirs is not None
            assert torch.equal(mine[[0, 2]], theirs[[0, 2]])
            assert torch.equal(mine[1], theirs[1]) == (turn < 3)
        for slot in (1, 3):
            assert torch.equal(swapped.cache.keys[:, slot], kept.cache.keys[:, slot])
            for stack in (swapped, kept):
                stack.cache.rollback(slot, stack.cache.lengths[slot] - 1)
        if turn >= 3:
            expected = newer.draft_chains([spans[1]], [3], params[:1], [noise[1]])
            close(both[0][1][1], expected[1][0])
            assert both[0][0][1].tolist() == expected[0][0].tolist()
    assert len(swapped.graphs) == recorded
    assert addresses == [tensor.data_ptr() for tensor in swapped.drafts[1].network.weights._body()]


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    """Another shape, a head that is too large, a trimmed one among whole ones: with the difference in words."""
    whole, trimmed = stack_of(drafts_of()), tiny_stack(drafts_of(is_trimmed=True)[:1], 2, head_size=7)
    before = whole.drafts[0].network.weights.head.clone()
    others = {
        "hidden_size is 64, and 32": (whole, replace(CONFIG, hidden_size=64)),
        "num_layers is 1, and 2": (whole, replace(CONFIG, num_layers=1)),
        "inv_freq": (whole, replace(CONFIG, inv_freq=(1.0, 0.3, 0.1, 0.01))),
        "head is trimmed": (whole, replace(CONFIG, output_token_ids=(1, 2))),
        "head has 8 columns, and the stack 7": (trimmed, replace(CONFIG, output_token_ids=tuple(range(8)))),
        "head has 61 columns, and the stack 7": (trimmed, CONFIG),
    }
    for what, (stack, config) in others.items():
        with pytest.raises(ValueError, match=what):
            stack.exchange(0, config, tiny_model(3, config).network.weights)
    assert torch.equal(whole.drafts[0].network.weights.head, before)
    assert whole.refusal(replace(CONFIG, eos_token_ids=(4,), max_position_embeddings=99)) is None
    assert trimmed.refusal(replace(CONFIG, output_token_ids=tuple(range(7)))) is None


def test_what_padding_and_empty_places_leave_behind_reaches_nobody() -> None:
    """Poison where padding rows write, and in the weights of the places that nobody has."""
    drafts = drafts_of()
    stack = stack_of(drafts)
    for tensor in (stack.cache.keys, stack.cache.values):
        tensor[:, SPARE_SLOT] = torch.nan
    for place in (3, 4):
        for tensor in stack.drafts[place].network.weights._body():
            tensor.fill_(torch.nan)
    for is_drawn in (False, True):
        for name in BATCHES:
            check_batch(stack, drafts, name, is_drawn)


def test_what_a_trimmed_head_lacks_is_never_drafted() -> None:
    """Columns of padding have probability zero, whatever a larger head left in them."""
    drafts = drafts_of(is_trimmed=True)
    stack = stack_of(drafts, is_trimmed=True)
    stack.exchange(2, drafts[0].config, drafts[0].network.weights)  # five columns where 61 were
    for turn in range(6):
        noise = torch.rand(1, 6, generator=torch.Generator().manual_seed(turn)).tolist()
        tokens, laws = stack.draft_chains([2], [Span(1, [turn])], [6], SAMPLED[:1], noise)
        assert laws is not None
        assert {*tokens.flatten().tolist()} <= {3, 4, 5, 9, 11}
        assert (laws[0] > 0).sum(dim=-1).tolist() == [5] * 6
        stack.cache.rollback(1, 0)


def test_one_loop_is_recorded_for_all_mixtures_of_one_size() -> None:
    """Whoever has requests: two rows and one request a draft, three tokens; a new version changes nothing."""
    stack = stack_of(drafts_of(), captured=True)
    for places in ([0, 1], [1, 2], [0, 2], [2, 0], [1]):
        spans = [Span(slot, TOKEN_IDS[:2], logits_from=1) for slot in range(1, len(places) + 1)]
        stack.draft_chains(places, spans, [3] * len(places), [SamplingParams()] * len(places), [])
        for slot in (1, 2):
            stack.cache.rollback(slot, 0)
    assert len(stack.graphs) == 1


class Launches(TorchDispatchMode):
    """Counts operators that compute something; what only looks at tensors in another way starts no kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        is_view = any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)
        self.count += not is_view
        return func(*args, **(kwargs or {}))


def launches(run: Callable[[], object]) -> int:
    with Launches() as found:
        run()
    return found.count


@pytest.mark.parametrize("is_drawn", [False, True])
def test_six_drafts_start_hardly_more_kernels_than_one(is_drawn: bool) -> None:
    """What a small draft's loop costs on a GPU, counted: eight requests of six drafts, of one, and one after the other.

    The drafts are trimmed, as ours are. A GPU fuses the scale into the norm of a single draft, which the CPU does not:
    there a stack starts one kernel more for each norm than is counted here.
    """
    config = replace(CONFIG, num_layers=6, output_token_ids=EVEN, attention_bias=False)
    models = [tiny_model(seed, config, num_slots=8) for seed in range(6)]
    stack = tiny_stack(models, 6, num_slots=8, head_size=len(EVEN))
    params = [SAMPLED[0] if is_drawn else SamplingParams()] * 8
    noise = [[0.5] * 4] * 8 if is_drawn else []
    spans = [Span(slot, [slot]) for slot in range(1, 9)]

    def in_turn() -> None:
        for place, draft in enumerate(models):
            own = [n for n in range(8) if n % 6 == place]
            draft.cache.lengths[1:9] = [0] * 8
            draft.draft_chains([spans[n] for n in own], [4] * len(own), params[: len(own)], noise[: len(own)])

    one = launches(lambda: models[0].draft_chains(spans, [4] * 8, params, noise))
    stacked = launches(lambda: stack.draft_chains([n % 6 for n in range(8)], spans, [4] * 8, params, noise))
    assert stacked < 1.02 * one
    assert launches(in_turn) > 5.5 * one


def test_a_loop_that_took_the_places_from_python_would_be_found_out() -> None:
    """Negative control: a replay of rows in the order of another batch gives the wrong requests their tokens."""
    drafts = drafts_of()
    right, wrong = (stack_of(drafts, captured=True) for _ in range(2))
    spans = [Span(slot, TOKEN_IDS[slot : slot + 2], logits_from=1) for slot in (1, 2)]
    greedy = [SamplingParams()] * 2
    found = right.draft_chains([0, 1], spans, [3, 3], greedy, [])[0]
    assert not torch.equal(found, wrong.draft_chains([1, 0], spans, [3, 3], greedy, [])[0])


def test_rows_and_requests_stand_with_their_drafts() -> None:
    """Padded to what the fullest draft has; requests keep their order within a draft."""
    layout = Layout.by_draft([1, 0, 1], [2, 1, 1], 3)
    assert (layout.num_rows, layout.num_requests) == (3 * 4, 3 * 2)
    assert layout.rows == [4, 5, 0, 6]
    assert layout.requests == [2, 0, 3]
    assert Layout.in_order(3, 2).rows == range(3)


def test_graphs_beside_others_have_keys_of_their_own() -> None:
    """One place's loop is not another's."""
    graphs = recorded_graphs()
    other = graphs.beside()
    one = torch.ones(1)
    assert graphs.run("key", lambda x: (x + 1,), (one,))[0].item() == 2
    assert other.run("key", lambda x: (x + 2,), (one,))[0].item() == 3
    assert (len(graphs), len(other)) == (1, 1)
    assert Graphs().beside().run("key", lambda x: (x,), (one,))[0] is one
