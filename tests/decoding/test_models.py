"""Both backends against transformers, and the promises that the step loop builds on."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from configs.errors import CheckpointError
from decoding import torch_model
from decoding.checkpoint import fingerprint, read_config, read_weights
from decoding.load import load_model
from decoding.model import LanguageModel, PlainGreedy
from decoding.native.build import load_kernel
from decoding.native_model import NativeModel
from decoding.output_vocabulary import FILE, write_output_vocabulary
from decoding.span import Span
from decoding.torch_model import TorchModel
from tests.decoding.conftest import Checkpoint, transformers_logits

TOKEN_IDS = [int(value) for value in torch.randint(0, 61, (48,), generator=torch.Generator().manual_seed(1))]
BACKENDS = ("native", "torch")
TILES = bool(load_kernel().polydraft_has_tiles())
ARCHITECTURES = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, wide heads": ("llama", {"head_dim": 72, "num_key_value_heads": 1}),
    "llama, heads of one vector": ("llama", {"head_dim": 32, "num_key_value_heads": 4}),
    "llama, llama3 rope": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral, linear rope": (
        "mistral",
        {"sliding_window": None, "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 1000.0}},
    ),
    "qwen2": ("qwen2", {}),
    "qwen2, yarn rope": (
        "qwen2",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 32,
            },
        },
    ),
    "qwen3": ("qwen3", {}),
    "qwen3, tied, biased": ("qwen3", {"tie_word_embeddings": True, "attention_bias": True}),
}


@pytest.fixture(
    params=[
        ("native", "float32", False),
        ("native", "bfloat16", False),
        ("native", "float16", True),
        ("torch", "float32", False),
    ]
)
def model(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> LanguageModel:
    """A grouped-query model with q/k norms, on either backend; bfloats and bytes may be multiplied on tiles."""
    backend, dtype, int8 = request.param
    folder = checkpoint("qwen3", getattr(torch, dtype))
    return load_model(folder, num_slots=4, max_length=64, backend=backend, int8=int8)


def decode(model: LanguageModel, slot: int, token_ids: list[int]) -> Tensor:
    """Logits of ``token_ids`` fed one a pass and committed: plain decoding."""
    rows = []
    for token_id in token_ids:
        rows.append(model.forward([Span(slot, [token_id])])[0].clone())
        model.cache.commit(slot, [0])
    return torch.stack(rows)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_equal_transformers(architecture: str, backend: str, checkpoint: Checkpoint) -> None:
    """Every family, head layout, bias and rope scaling gives transformers' logits."""
    family, changes = ARCHITECTURES[architecture]
    folder = checkpoint(family, **changes)
    model = load_model(folder, num_slots=1, max_length=64, backend=backend)
    torch.testing.assert_close(
        model.forward([Span(model.cache.allocate(), TOKEN_IDS)]),
        transformers_logits(folder, TOKEN_IDS),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_stored_dtype_is_widened_exactly(dtype: torch.dtype, checkpoint: Checkpoint) -> None:
    """A checkpoint in 16 bits gives the very bits of its float32 copy, where vectors multiply both."""
    folder = checkpoint("llama", dtype)
    config, weights = read_config(folder), read_weights(folder)
    flags = ("-march=native", "-mno-amx-bf16") if TILES else ("-march=native",)
    kernel = load_kernel(flags)
    stored = NativeModel(config, weights, 1, 64, kernel).forward([Span(0, TOKEN_IDS)])
    # One value that no 16-bit float holds forces float32 storage; it belongs to a token that is not used.
    unused = next(token_id for token_id in range(61) if token_id not in TOKEN_IDS)
    wide = {name: tensor.float() for name, tensor in weights.items()}
    wide["lm_head.weight"][unused, 0] += 1e-6
    widened = NativeModel(config, wide, 1, 64, kernel).forward([Span(0, TOKEN_IDS)])
    kept = [token_id for token_id in range(61) if token_id != unused]
    assert torch.equal(stored[:, kept], widened[:, kept])
    torch.testing.assert_close(stored, transformers_logits(folder, TOKEN_IDS), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not TILES, reason="this processor has no bfloat16 tiles")
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("inputs", [40, 64, 100])
def test_tiles_are_as_near_to_the_truth_as_vectors(family: str, inputs: int, checkpoint: Checkpoint) -> None:
    """Of bfloats, against float64, with biases and widths that fill a tile and that do not; the bits differ."""
    folder = checkpoint(family, torch.bfloat16, hidden_size=inputs, intermediate_size=2 * inputs - 7)
    config, weights = read_config(folder), read_weights(folder)
    exact = TorchModel(config, weights, 1, 64, dtype=torch.float64).forward([Span(0, TOKEN_IDS)])
    on_tiles, on_vectors = (
        NativeModel(config, weights, 1, 64, load_kernel(flags)).forward([Span(0, TOKEN_IDS)])
        for flags in (("-march=native",), ("-march=native", "-mno-amx-bf16"))
    )
    assert not torch.equal(on_tiles, on_vectors)
    assert (on_tiles - exact).abs().mean() < 1.2 * (on_vectors - exact).abs().mean()


@pytest.mark.parametrize("machine", ["-march=x86-64", "-march=haswell", "-march=native"])
def test_every_instruction_set_gives_the_same_model(machine: str, checkpoint: Checkpoint) -> None:
    """The portable, AVX2 and AVX-512 paths agree with transformers, and each is row-invariant."""
    if machine == "-march=haswell" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    folder = checkpoint("qwen2", torch.float16)
    model = NativeModel(read_config(folder), read_weights(folder), 1, 64, load_kernel((machine,)))
    together = model.forward([Span(model.cache.allocate(), TOKEN_IDS)]).clone()
    torch.testing.assert_close(together, transformers_logits(folder, TOKEN_IDS), atol=1e-4, rtol=1e-4)
    assert torch.equal(together, decode(model, 0, TOKEN_IDS))


def test_float64_reference_bounds_the_error_of_both_backends(checkpoint: Checkpoint) -> None:
    """In float32 either backend is within 1e-5 of the same model in float64."""
    folder = checkpoint("llama", attention_bias=True)
    exact = TorchModel(read_config(folder), read_weights(folder), 1, 64, dtype=torch.float64)
    expected = exact.forward([Span(0, TOKEN_IDS)])
    for backend in BACKENDS:
        got = load_model(folder, 1, 64, backend).forward([Span(0, TOKEN_IDS)])
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_plain_linear_is_row_invariant_too(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where oneDNN is missing, the torch model still gives one pass the bits of plain decoding."""
    monkeypatch.setattr(torch_model, "HAS_PREPACKED", False)
    folder = checkpoint("qwen2")
    model = load_model(folder, 1, 64, "torch")
    together = model.forward([Span(model.cache.allocate(), TOKEN_IDS)])
    torch.testing.assert_close(together, transformers_logits(folder, TOKEN_IDS), atol=1e-4, rtol=1e-4)
    assert torch.equal(together, decode(model, 0, TOKEN_IDS))


def test_cached_decoding_gives_the_bits_of_one_pass(model: LanguageModel) -> None:
    """Feeding a sequence at once, by token, or in pieces gives the same logits bit for bit."""
    whole, pieces = model.cache.allocate(), model.cache.allocate()
    expected = model.forward([Span(whole, TOKEN_IDS)]).clone()
    assert torch.equal(decode(model, whole, TOKEN_IDS), expected)
    first = 0
    for size in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        got = model.forward([Span(pieces, TOKEN_IDS[first : first + size])])
        assert torch.equal(got, expected[first : first + size])
        model.cache.commit(pieces, range(size))
        first += size


@pytest.mark.parametrize("num_rows", range(1, 16))
def test_a_row_is_the_same_whatever_else_is_in_the_pass(model: LanguageModel, num_rows: int) -> None:
    """Other sequences before, after and beside a span change none of its bits."""
    slot, other = model.cache.allocate(), model.cache.allocate()
    alone = model.forward([Span(slot, TOKEN_IDS[:num_rows])]).clone()
    crowd = [Span(other, TOKEN_IDS[20:27], logits_from=7), Span(slot, TOKEN_IDS[:num_rows]), Span(2, TOKEN_IDS[3:40])]
    assert torch.equal(model.forward(crowd)[:num_rows], alone)
    assert torch.equal(model.forward(list(reversed(crowd)))[37 : 37 + num_rows], alone)


def test_ragged_spans_continue_their_own_sequences(model: LanguageModel) -> None:
    """Sequences of different lengths share passes and each goes on as if alone."""
    expected = model.forward([Span(model.cache.allocate(), TOKEN_IDS)]).clone()
    slots = [model.cache.allocate() for _ in range(3)]
    done = [0, 0, 0]
    for sizes in ((5, 1, 11), (1, 8, 2), (4, 4, 1), (1, 1, 1)):
        spans = [
            Span(slot, TOKEN_IDS[start : start + size]) for slot, start, size in zip(slots, done, sizes, strict=True)
        ]
        got = model.forward(spans).split(list(sizes))
        for index, (slot, size) in enumerate(zip(slots, sizes, strict=True)):
            assert torch.equal(got[index], expected[done[index] : done[index] + size])
            model.cache.commit(slot, range(size))
            done[index] += size


def test_each_node_of_a_tree_is_its_own_path(model: LanguageModel) -> None:
    """A tree's rows have the bits that plain decoding of their path gives, and a committed path goes on so."""
    slot, plain = model.cache.allocate(), model.cache.allocate()
    for used in (slot, plain):
        model.forward([Span(used, TOKEN_IDS[:9], logits_from=9)])
        model.cache.commit(used, range(9))
    token_ids, parents = [3, 4, 5, 6, 7, 8, 9, 10, 11], [-1, -1, 0, 0, 1, 2, 4, 4, 7]
    tree = model.forward([Span(slot, token_ids, parents)]).clone()
    for node in range(len(token_ids)):
        path = [node]
        while parents[path[0]] >= 0:
            path.insert(0, parents[path[0]])
        chain = decode(model, plain, [token_ids[row] for row in path])
        assert torch.equal(tree[path], chain)
        if node == 8:
            model.cache.commit(slot, path)
            assert torch.equal(decode(model, slot, TOKEN_IDS[:4]), decode(model, plain, TOKEN_IDS[:4]))
        model.cache.rollback(plain, 9)


def test_rollback_and_run_again_gives_the_same_bits(model: LanguageModel) -> None:
    """What a dropped guess left in the cache is never seen again."""
    slot = model.cache.allocate()
    expected = decode(model, slot, TOKEN_IDS[:20])
    model.cache.rollback(slot, 7)
    model.forward([Span(slot, [60] * 9)])
    assert torch.equal(decode(model, slot, TOKEN_IDS[7:20]), expected[7:])


def test_a_released_slot_is_as_good_as_new(model: LanguageModel) -> None:
    """A sequence in a used slot equals one in a fresh slot."""
    slot = model.cache.allocate()
    expected = decode(model, slot, TOKEN_IDS[:8])
    model.cache.release(slot)
    assert slot == model.cache.allocate()
    assert torch.equal(decode(model, slot, TOKEN_IDS[:8]), expected)


def test_only_wanted_rows_are_returned(model: LanguageModel) -> None:
    """logits_from leaves out leading rows, all rows at the most, without changing the rest."""
    slot = model.cache.allocate()
    expected = model.forward([Span(slot, TOKEN_IDS[:10])]).clone()
    assert torch.equal(model.forward([Span(slot, TOKEN_IDS[:10], logits_from=7)]), expected[7:])
    assert tuple(model.forward([Span(slot, TOKEN_IDS[:10], logits_from=10)]).shape) == (0, 61)
    assert tuple(model.forward([]).shape) == (0, 61)


def test_exchanged_weights_take_effect_at_once(model: LanguageModel, checkpoint: Checkpoint) -> None:
    """After an exchange a model is the other checkpoint, and exchanging back restores every bit."""
    folder = checkpoint("qwen3")
    weights = read_weights(folder)
    changed = {name: tensor * 1.5 for name, tensor in weights.items()}
    model.exchange(model.prepare(weights))
    before = model.forward([Span(0, TOKEN_IDS)]).clone()
    model.exchange(model.prepare(changed))
    how = {"int8": model.int8} if isinstance(model, NativeModel) else {}
    expected = type(model)(model.config, changed, 1, 64, **how).forward([Span(0, TOKEN_IDS)])
    assert torch.equal(model.forward([Span(0, TOKEN_IDS)]), expected)
    assert not torch.equal(before, expected)
    model.exchange(model.prepare(weights))
    assert torch.equal(model.forward([Span(0, TOKEN_IDS)]), before)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([Span(0, [1, 61])], "token id"),
        ([Span(0, [-1])], "token id"),
        ([Span(0, [])], "no tokens"),
        ([Span(4, [1])], "slot 4"),
        ([Span(-1, [1])], "slot -1"),
        ([Span(0, [1]), Span(0, [2])], "share a slot"),
        ([Span(0, [1] * 65)], "no room"),
        ([Span(0, [1, 2], parents=[-1])], "parents"),
        ([Span(0, [1, 2], parents=[-1, 1])], "precede"),
        ([Span(0, [1, 2], parents=[-2, 0])], "precede"),
        ([Span(0, [1, 2], logits_from=3)], "logits_from"),
    ],
)
def test_spans_that_cannot_run_are_refused(model: LanguageModel, spans: list[Span], message: str) -> None:
    """A span that would read or write outside its memory raises instead."""
    with pytest.raises(ValueError, match=message):
        model.forward(spans)


def test_a_full_slot_takes_no_more(model: LanguageModel) -> None:
    """The last position can be used; the one after it cannot."""
    slot = model.cache.allocate()
    model.forward([Span(slot, [1] * 64)])
    model.cache.commit(slot, range(64))
    with pytest.raises(ValueError, match="no room"):
        model.forward([Span(slot, [1])])


def test_drafting_in_one_call_is_decoding_token_by_token(model: LanguageModel) -> None:
    """Ragged texts, lengths from one up, part of a text in the cache: same tokens, same cache afterwards."""
    texts, lengths = [TOKEN_IDS[:9], TOKEN_IDS[9:10], TOKEN_IDS[20:27]], [5, 1, 3]
    found, expected = [], []
    for draft, drafted in ((model.draft, found), (lambda *args: PlainGreedy.draft(model, *args), expected)):
        slots = [model.cache.allocate() for _ in texts]
        decode(model, slots[2], texts[2][:4])
        spans = [
            Span(slots[0], texts[0], logits_from=8),
            Span(slots[1], texts[1]),
            Span(slots[2], texts[2][4:], None, 2),
        ]
        drafted += draft(spans, lengths)
        drafted += [model.cache.lengths[slot] for slot in slots]
        drafted += [model.forward([Span(slot, [7])]).tolist() for slot in slots]
        for slot in slots:
            model.cache.release(slot)
    assert found == expected
    assert [len(tokens) for tokens in found[:3]] == lengths


def test_drafting_beyond_the_slot_is_refused(model: LanguageModel) -> None:
    """The last drafted token needs no room, all others do."""
    slot = model.cache.allocate()
    room = model.cache.max_length
    decode(model, slot, [1] * (room - 4))
    with pytest.raises(ValueError, match="no room"):
        model.draft([Span(slot, [1])], [5])
    assert len(model.draft([Span(slot, [1])], [4])[0]) == 4


@pytest.mark.parametrize("vocab_size", [3, 16, 61, 100, 200, 700, 1100])
def test_the_most_probable_token_is_the_first_of_equals(model: LanguageModel, vocab_size: int) -> None:
    """In every lane and in the rest behind the last full vector; nothing but minus infinity gives token 0."""
    logits = torch.randn(vocab_size, vocab_size)
    logits.fill_diagonal_(9.0)
    assert model.argmax(logits) == list(range(vocab_size))
    logits[:, -1] = 9.0
    assert model.argmax(logits) == list(range(vocab_size))
    assert model.argmax(torch.full((1, vocab_size), -torch.inf)) == [0]


def test_the_most_probable_tokens_of_a_forward_are_found_whatever_its_size(model: LanguageModel) -> None:
    """All of its rows, some of them, a copy, and those of the next forward; more rows than there was room for too."""
    slot = model.cache.allocate()
    for rows in (2, 1, 40, 2):
        logits = model.forward([Span(slot, [(rows + row) % 61 for row in range(rows)])])
        best = [int(row.argmax()) for row in logits]
        assert model.argmax(logits) == model.argmax(logits.clone()) == best
        assert model.argmax(logits[1:]) == best[1:]


def test_a_trimmed_head_says_the_same_about_what_it_covers(checkpoint: Checkpoint) -> None:
    """Same bits for the tokens it may emit, minus infinity for the rest; drafting stays among them."""
    folder, kept = checkpoint("qwen3"), [0, 3, 7, 8, 30, 31, 32, 33, 59]
    whole = load_model(folder, 2, 64).forward([Span(0, TOKEN_IDS[:9])]).clone()
    prints = {fingerprint(folder)}
    write_output_vocabulary(folder, kept)
    drafted = set()
    for backend in BACKENDS:
        model = load_model(folder, 2, 64, backend)
        logits = model.forward([Span(model.cache.allocate(), TOKEN_IDS[:9])])
        assert torch.allclose(logits[:, kept], whole[:, kept], atol=1e-4)
        if backend == "native":
            assert torch.equal(logits[:, kept], whole[:, kept])
        others = [token_id for token_id in range(61) if token_id not in kept]
        assert (logits[:, others] == -torch.inf).all()
        (tokens,) = model.draft([Span(0, TOKEN_IDS[:9], logits_from=8)], [12])
        assert tokens[0] == model.argmax(logits[-1:])[0]
        drafted.add(tuple(tokens))
    assert len(drafted) == 1
    assert set(*drafted) <= set(kept)
    assert fingerprint(folder) not in prints


@pytest.mark.parametrize("content", ["{}", *(f'{{"token_ids": {ids}}}' for ids in ([3, 1], [1, 61], [])), "no"])
def test_a_list_of_outputs_that_is_none_is_refused(checkpoint: Checkpoint, content: str) -> None:
    """Missing, descending, beyond the vocabulary, empty, no JSON."""
    folder = checkpoint("llama")
    (folder / FILE).write_text(content)
    with pytest.raises(CheckpointError, match="output_vocabulary"):
        load_model(folder, 2, 64)
