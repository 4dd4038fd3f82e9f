"""The device's model computes what the others compute; here on the CPU, captured and not."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from configs.errors import ConfigError
from decoding.device.graphs import Graphs, cuda_graphs
from decoding.device.model import DeviceModel
from decoding.device.placement import CPU, Placement, place
from decoding.device.rows import EXACT_ROWS, SPARE_SLOT
from decoding.device.sampling import cuts, laws_of, settings_of
from decoding.load import load_model
from decoding.output_vocabulary import write_output_vocabulary
from decoding.request import SamplingParams
from decoding.span import Span
from decoding.torch_model import TorchModel
from tests.decoding.conftest import Checkpoint, transformers_logits
from tests.decoding.device.recorded import recorded_graphs
from tests.decoding.device.tiny import CONFIG, TOKEN_IDS, tiny_model, tiny_weights

EXACT = replace(CPU, exact=True)
BFLOAT16 = Placement(torch.device("cpu"), torch.bfloat16)
close = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)
FAMILIES = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {}),
}


def folder_model(folder: Path) -> DeviceModel:
    return DeviceModel.from_folder(folder, 2, 64, CPU)


@pytest.fixture(params=["eager", "captured", "exact", "exact and captured"])
def model(request: pytest.FixtureRequest) -> DeviceModel:
    placement = EXACT if "exact" in request.param else CPU
    return tiny_model(placement=placement, graphs=recorded_graphs() if "captured" in request.param else None)


@pytest.fixture
def reference() -> TorchModel:
    return TorchModel(CONFIG, tiny_weights(), 5, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers(family: str, checkpoint: Checkpoint) -> None:
    """Families, biases, norms of heads and tied heads."""
    name, changes = FAMILIES[family]
    folder = checkpoint(name, **changes)
    close(folder_model(folder).forward([Span(1, TOKEN_IDS)]), transformers_logits(folder, TOKEN_IDS))


def test_a_trimmed_head_never_says_what_it_lacks(checkpoint: Checkpoint) -> None:
    """Logits of the kept tokens are those of the whole head; all others are minus infinity."""
    folder, kept = checkpoint("llama"), [3, 5, 60]
    whole = folder_model(folder).forward([Span(1, TOKEN_IDS)])
    write_output_vocabulary(folder, kept)
    trimmed = folder_model(folder).forward([Span(1, TOKEN_IDS)])
    close(trimmed[:, kept], whole[:, kept])
    assert trimmed.isinf().sum() == len(TOKEN_IDS) * (61 - len(kept))


def test_passes_of_any_shape_continue_their_sequences(model: DeviceModel, reference: TorchModel) -> None:
    """Ragged spans, wanted rows here and there, and slots that move between passes."""
    for sizes, wanted_from in (((5, 1, 7), 0), ((1, 3, 1), 1), ((2, 2, 9), 0), ((1, 1, 1), 0)):
        slots = (3, 1, 2) if sizes[0] % 2 else (2, 3, 1)
        spans = []
        for slot, size in zip(slots, sizes, strict=True):
            start = reference.cache.lengths[slot]
            spans.append(Span(slot, TOKEN_IDS[start : start + size], logits_from=min(wanted_from, size)))
        close(model.forward(spans), reference.forward(spans))
        for each in (model, reference):
            for span in spans:
                each.cache.commit(span.slot, range(len(span.token_ids)))


def test_a_prompt_is_read_in_pieces(model: DeviceModel) -> None:
    """More rows than a pass may have: later pieces see the earlier ones, and all wanted rows come back."""
    long = tiny_model(placement=model.placement, graphs=model.graphs, max_length=600)
    reference = TorchModel(CONFIG, tiny_weights(), 5, 600)
    token_ids = [(7 * place + place // 61) % 61 for place in range(530)]
    for wanted in (0, 400, 529):
        spans = [Span(1, token_ids, logits_from=wanted), Span(2, token_ids[:70], logits_from=69)]
        close(long.forward(spans), reference.forward(spans))


def test_trees_see_their_own_paths(model: DeviceModel, reference: TorchModel) -> None:
    """A tree beside a chain, before and after its path is committed."""
    tree = Span(1, [3, 4, 5, 6, 7], [-1, 0, 0, -1, 2])
    for spans in ([tree], [Span(2, TOKEN_IDS[:4]), replace(tree, token_ids=[8, 9, 10, 11, 12])]):
        close(model.forward(spans), reference.forward(spans))
        for each in (model, reference):
            each.cache.commit(1, [0, 2, 4])


def test_drafting_goes_on_as_greedily_as_passes_one_by_one(model: DeviceModel, reference: TorchModel) -> None:
    """Requests of several lengths in one loop, after catching up by several rows."""
    for lengths in ([3, 1], [2, 5], [4, 4]):
        spans = [Span(slot, TOKEN_IDS[:n], logits_from=n - 1) for slot, n in ((2, 3), (1, 1))]
        assert model.draft(spans, lengths) == reference.draft(spans, lengths)
        assert model.cache.lengths == reference.cache.lengths


def test_drafting_reads_a_long_text_first() -> None:
    """More rows to catch up by than a loop begins with."""
    models = [tiny_model(max_length=600), TorchModel(CONFIG, tiny_weights(), 5, 600)]
    spans = [Span(slot, (TOKEN_IDS * 12)[:n], logits_from=n - 1) for slot, n in ((1, 512), (2, 1), (3, 40))]
    first, second = (model.draft(spans, [2, 3, 2]) for model in models)
    assert first == second
    assert models[0].cache.lengths == models[1].cache.lengths


def test_new_weights_come_to_the_addresses_of_the_old_ones(model: DeviceModel) -> None:
    """After an exchange, passes and loops that were captured before run on the new weights."""
    span, other = Span(1, TOKEN_IDS[:3]), tiny_model(seed=5)
    model.forward([span])
    model.draft([Span(2, [1])], [2])
    model.cache.rollback(2, 0)
    model.exchange(model.prepare(tiny_weights(seed=5)))
    close(model.forward([span]), other.forward([span]))
    assert model.draft([Span(2, [1])], [2]) == other.draft([Span(2, [1])], [2])


def test_what_padding_leaves_behind_reaches_nobody(model: DeviceModel) -> None:
    """Poison where padding rows write: passes and draft loops of any size come out the same."""
    clean = tiny_model()
    for tensor in (model.cache.keys, model.cache.values):
        tensor[:, SPARE_SLOT] = torch.nan
    for count in (1, 3, 7, 21):
        spans = [Span(slot, TOKEN_IDS[slot : slot + count], logits_from=count - 1) for slot in (1, 2, 3)]
        close(model.forward(spans), clean.forward(spans))
        assert model.draft(spans, [1, 4, 2]) == clean.draft(spans, [1, 4, 2])
        for each in (model, clean):
            for slot in (1, 2, 3):
                each.cache.rollback(slot, 0)


def test_negative_token_ids_are_drafted_ones(model: DeviceModel) -> None:
    """What only the device knows goes into a pass without the host."""
    model.drafted = torch.tensor([7, 8, 9])
    hidden = model.forward([Span(1, [5, -2, -3]), Span(2, [-1])]).clone()
    assert torch.equal(hidden, model.forward([Span(1, [5, 8, 9]), Span(2, [7])]))
    with pytest.raises(AssertionError):
        model.forward([Span(1, [-4])])
    model.drafted = None
    with pytest.raises(ValueError, match="token id"):
        model.forward([Span(1, [-1])])


def test_exact_passes_have_one_row_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain and speculative passes, short and long, all run over as many rows."""
    model, seen = tiny_model(placement=EXACT, max_length=200), []
    run = model._pass
    monkeypatch.setattr(
        model, "_pass", lambda rows, *args, **kwargs: seen.append(rows.size(1)) or run(rows, *args, **kwargs)
    )
    for count in (1, 5, 64, 65, 150):
        model.forward([Span(1, (TOKEN_IDS * 4)[:count])])
    assert {*seen} == {*EXACT_ROWS}
    assert len(seen) == 1 + 1 + 1 + 2 + 3


def test_bfloat16_stays_near_float32() -> None:
    """On the CPU, with float32 logits; and they are float32 sums, not rounded to bfloat16 afterwards."""
    weights = {name: tensor.bfloat16().float() for name, tensor in tiny_weights().items()}
    exact, rounded = (DeviceModel(CONFIG, weights, 1, 64, placement) for placement in (CPU, BFLOAT16))
    expected, found = (model.forward([Span(1, TOKEN_IDS)]) for model in (exact, rounded))
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())
    assert 1e-4 < (found - expected).std() / expected.std() < 0.05


def test_words_of_a_deployment_become_a_placement() -> None:
    """auto is the CPU for now; what is not there is refused with what to do."""
    assert place() == place("cpu") == place("cpu", "float32") == CPU
    with pytest.raises(ConfigError, match="float32"):
        place("cpu", "bfloat16")
    if torch.cuda.is_available():
        assert place("cuda:0").dtype == torch.bfloat16
    else:
        with pytest.raises(ConfigError, match="no cuda:1"):
            place("cuda:1")


def test_load_model_takes_the_device_that_is_asked_for(checkpoint: Checkpoint) -> None:
    """The CPU's model where nothing is said, the device's where a device is."""
    folder = checkpoint()
    assert not isinstance(load_model(folder, 1, 64), DeviceModel)
    elsewhere = Placement(torch.device("meta"), torch.float32)
    assert isinstance(load_model(folder, 1, 64, placement=elsewhere), DeviceModel)


def test_a_capture_that_bakes_a_number_in_gives_itself_away() -> None:
    """Negative control: what stands in for a graph replays old Python numbers, as a graph would, and no others."""
    numbers = iter(range(1, 100))
    stale: Callable[..., tuple[torch.Tensor]] = lambda x: (x * next(numbers),)  # noqa: E731
    graphs, eager = recorded_graphs(), Graphs()
    one = torch.ones(1)
    assert [graphs.run("stale", stale, (one,))[0].item() for _ in range(2)] == [1, 1]
    assert [eager.run("stale", stale, (one,))[0].item() for _ in range(2)] == [2, 3]
    fresh = recorded_graphs()
    assert [fresh.run("fresh", lambda x: (x + 1,), (torch.tensor(n),))[0].item() for n in (1, 5)] == [2, 6]
    assert len(fresh) == 1


SAMPLED = [SamplingParams(temperature=1.0), SamplingParams(temperature=0.7, top_p=0.8), SamplingParams()]


@pytest.mark.parametrize("captured", [False, True])
def test_a_drawn_loop_draws_from_the_laws_that_it_hands_over(captured: bool) -> None:
    """Each token has a probability in its law, which is that of the model after the tokens before it."""
    model, plain = (tiny_model(graphs=recorded_graphs() if captured else None) for _ in range(2))
    spans = [Span(slot, TOKEN_IDS[slot : slot + 2], logits_from=1) for slot in (1, 2, 3)]
    for turn in range(3):
        noise = torch.rand(3, 4, generator=torch.Generator().manual_seed(turn)).tolist()
        tokens, laws = model.draft_chains(spans, [4, 4, 4], SAMPLED, noise)
        assert laws is not None
        for row, span in enumerate(spans):
            fed = Span(span.slot, [*span.token_ids, *tokens[row, :3].tolist()], logits_from=1)
            logits = plain.forward([fed])
            settings = torch.tensor(settings_of([SAMPLED[row]] * 4, 61))
            close(laws[row], laws_of(logits, settings, cuts([SAMPLED[row]])))
            assert (laws[row].gather(1, tokens[row, :, None]) > 0).all()
            model.cache.rollback(span.slot, 0)


def test_cuda_graphs_are_asked_for_as_torch_offers_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order of a capture, on names that exist: warm-ups aside, one recorded run, then replays."""
    said: list[str] = []
    offered = inspect.signature(torch.cuda.graph.__init__).parameters

    def recording(graph: object, **options: object) -> AbstractContextManager[None]:
        assert options.keys() <= offered.keys()
        said.append("record")
        return nullcontext()

    class Stub:
        def __init__(self, *_: object) -> None: ...

        def wait_stream(self, _: object) -> None:
            said.append("wait")

        def replay(self) -> None:
            said.append("replay")

    for name, stub in {
        "graph": recording,
        "graph_pool_handle": lambda: (0, 0),
        "Stream": Stub,
        "CUDAGraph": Stub,
        "current_stream": Stub,
        "stream": lambda _: nullcontext(),
        "device": lambda _: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stub)
    graphs = cuda_graphs(torch.device("cuda", 0))
    for _ in range(2):
        graphs.run("key", lambda x: said.append("run") or (x,), (torch.ones(1),))
    assert said == ["wait", "run", "run", "wait", "record", "run", "replay", "replay"]
