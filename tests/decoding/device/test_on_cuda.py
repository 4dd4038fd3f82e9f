"""The same on a real GPU, where there is one: numbers, captured graphs, waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from decoding.checkpoint import read_config, read_weights
from decoding.device import transfer
from decoding.device.attention import gathered_attention, paged_attention
from decoding.device.graphs import Graphs
from decoding.device.loop import make_loop
from decoding.device.model import DeviceModel
from decoding.device.placement import CPU, Placement
from decoding.device.rows import ROW_COUNTS
from decoding.load import load_model
from decoding.request import SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from decoding.torch_model import TorchModel
from drafts.device_drafter import DeviceDrafter
from tests.decoding.device.tiny import CONFIG, TOKEN_IDS, request_of, tiny_model, tiny_stack, tiny_weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

STARTER = Path(__file__).resolve().parents[3] / "starter"
FLOAT32, BFLOAT16, EXACT = (
    Placement(torch.device("cuda", 0), dtype, exact)
    for dtype, exact in ((torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True))
)


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def starter(name: str, placement: Placement, graphs: Graphs | None = None) -> DeviceModel:
    folder = STARTER / name
    return DeviceModel(read_config(folder), read_weights(folder), 4, 512, placement, graphs)


def test_logits_are_those_of_the_cpu() -> None:
    """float32, chains and trees, prompts in pieces."""
    there, here = tiny_model(placement=FLOAT32, max_length=600), TorchModel(CONFIG, tiny_weights(), 5, 600)
    tree = Span(1, [3, 4, 5, 6, 7], [-1, 0, 0, -1, 2])
    for spans in ([Span(1, TOKEN_IDS[:5]), Span(2, TOKEN_IDS[:1])], [tree], [Span(3, TOKEN_IDS * 11, logits_from=500)]):
        torch.testing.assert_close(there.forward(spans).cpu(), here.forward(spans), atol=1e-4, rtol=1e-4)


def test_flash_attention_over_slots_is_attention() -> None:
    """Pages that are whole slots, read up to each row's place; grouped heads, too."""
    for heads, kv_heads, dim in ((8, 8, 128), (8, 2, 64)):
        keys, values = (torch.randn(5, kv_heads, 512, dim, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        queries = torch.randn(6, heads, dim, device="cuda", dtype=torch.bfloat16)
        slots = torch.tensor([4, 0, 4, 2, 1, 1], device="cuda")
        places = torch.tensor([511, 0, 17, 300, 255, 256], device="cuda")
        found, expected = (f(queries, keys, values, slots, places) for f in (paged_attention, gathered_attention))
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("placement", [FLOAT32, BFLOAT16])
def test_a_replay_has_the_bits_of_an_eager_run(placement: Placement) -> None:
    """Every captured row count, at lengths that grow and shrink between replays."""
    captured, eager = starter("target", placement), starter("target", placement, Graphs())
    for start in (40, 3, 100):
        for count in [count for count in ROW_COUNTS if count <= 64]:
            spans = [Span(2, [(start + n) % 4096 for n in range(count)])]
            assert torch.equal(captured.forward(spans), eager.forward(spans)), count
        for model in (captured, eager):
            model.cache.lengths[2] = start


@pytest.mark.parametrize("placement", [FLOAT32, BFLOAT16])
def test_a_captured_draft_loop_has_the_tokens_of_an_eager_one(placement: Placement) -> None:
    """Greedy and sampled, the latter with the same dice."""
    captured, eager = starter("drafts/sql", placement), starter("drafts/sql", placement, Graphs())
    for turn, params in enumerate([SamplingParams(), SamplingParams(temperature=1.0, top_p=0.9)] * 3):
        spans = [Span(1, [5 + turn, 6], logits_from=1), Span(2, [7])]
        noise = [] if params.is_greedy else [[0.1 * turn, 0.4, 0.7, 0.9]] * 2
        found = [model.draft_chains(spans, [4, 4], [params, params], noise)[0] for model in (captured, eager)]
        assert torch.equal(*found)


@pytest.mark.parametrize("placement", [FLOAT32, BFLOAT16])
def test_a_captured_loop_of_stacked_drafts_has_the_tokens_of_an_eager_one(placement: Placement) -> None:
    """Mixtures that change between replays, a version exchanged in place; in float32 also the single drafts' tokens."""
    names = ("sql", "chat", "python")
    drafts = [starter(f"drafts/{name}", placement, Graphs()) for name in names]
    head_size = max(len(draft.config.output_token_ids or ()) for draft in drafts)
    captured, eager = (
        tiny_stack(drafts, 4, placement, graphs, num_slots=4, max_length=512, head_size=head_size)
        for graphs in (None, Graphs())
    )
    for turn in range(6):
        if turn == 3:
            for stack in (captured, eager):
                stack.exchange(0, drafts[2].config, drafts[2].network.weights)
        places = [turn % 3, (turn + 1) % 3]
        spans = [Span(1, [5 + turn, 6], logits_from=1), Span(2, [7])]
        for params in (SamplingParams(), SamplingParams(temperature=1.0, top_p=0.9)):
            noise = [] if params.is_greedy else [[0.1 * turn, 0.4, 0.7, 0.9]] * 2
            found = [stack.draft_chains(places, spans, [4, 4], [params] * 2, noise)[0] for stack in (captured, eager)]
            assert torch.equal(*found)
            for row, place in enumerate(places):
                draft = drafts[2 if turn >= 3 and place == 0 else place]
                alone, _ = draft.draft_chains([spans[row]], [4], [params], noise[:1])
                assert placement is BFLOAT16 or torch.equal(found[0][row], alone[0])
                for cache in (captured.cache, eager.cache, draft.cache):
                    cache.rollback(spans[row].slot, 0)


def test_speculation_changes_no_greedy_token_in_exact_passes() -> None:
    """bfloat16, the starter: every target run has 64 rows, so plain and speculative decoding agree bit for bit."""
    prompts = [[(31 * n + m) % 4000 + 10 for m in range(5)] for n in range(8)]
    answers = []
    for drafter in (None, "sql"):
        drafters = {"sql": DeviceDrafter(starter("drafts/sql", BFLOAT16))}
        requests = [request_of(n, prompt, SamplingParams(max_tokens=64), drafter) for n, prompt in enumerate(prompts)]
        make_loop(starter("target", EXACT), drafters, num_draft_tokens=4).run(requests)
        answers.append([request.generated for request in requests])
    assert answers[0] == answers[1]


def test_float32_answers_are_the_cpus() -> None:
    """The starter, greedy, with a draft on the GPU against no draft on the CPU."""
    prompts = [[(17 * n + m) % 4000 + 10 for m in range(5)] for n in range(4)]
    requests = [request_of(n, prompt, SamplingParams(max_tokens=48), "sql") for n, prompt in enumerate(prompts)]
    drafters = {"sql": DeviceDrafter(starter("drafts/sql", FLOAT32))}
    make_loop(starter("target", FLOAT32), drafters, num_draft_tokens=4).run(requests)
    plain = [request_of(n, prompt, SamplingParams(max_tokens=48)) for n, prompt in enumerate(prompts)]
    StepLoop(load_model(STARTER / "target", 4, 512, placement=CPU), {}).run(plain)
    assert [request.generated for request in requests] == [request.generated for request in plain]


def test_nothing_waits_but_the_read_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch raises at every synchronisation outside `read`, for greedy and for sampled requests."""
    read, count = transfer.read, [0]

    def allowed(tensor: torch.Tensor) -> list[object]:
        torch.cuda.set_sync_debug_mode("default")
        count[0] += 1
        found = read(tensor)
        torch.cuda.set_sync_debug_mode("error")
        return found

    drafters = {"sql": DeviceDrafter(starter("drafts/sql", BFLOAT16))}
    loop = make_loop(starter("target", BFLOAT16), drafters, num_draft_tokens=4)
    for n, sampling in enumerate((SamplingParams(max_tokens=200), SamplingParams(temperature=1.0, max_tokens=200))):
        loop.admit(request_of(n, [5, 6, 7], sampling, "sql"))
    for _ in range(12):  # captures wait; they are behind us then
        loop.step()
    monkeypatch.setattr(transfer, "read", allowed)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            loop.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert count[0] == 3
