"""Everything that runs on a device, on a pretended one: devices are not mixed, and nothing looks at numbers.

A look at a number is a wait for the device. Under `pretend_gpu` it raises, so what passes here waits for nothing. What
a step reads at its end goes through `decoding.device.transfer.read`, which here counts and makes numbers up.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import decoding.device.loop
from decoding.device import transfer
from decoding.device.attention import paged_attention
from decoding.device.loop import make_loop
from decoding.device.model import DeviceModel
from decoding.device.placement import Placement
from decoding.device.stack import DraftStack
from decoding.device.verification import Chains, verify_greedily
from decoding.drafter import Drafter
from decoding.request import SamplingParams
from decoding.span import Span
from drafts.device_drafter import DeviceDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.stacked_drafter import StackedDrafts
from tests.decoding.device.pretend import pretend_gpu
from tests.decoding.device.tiny import CONFIG, TOKEN_IDS, request_of, tiny_model, tiny_stack


class Crossings(TorchDispatchMode):
    """Every operator that moves numbers from the device to the host, or the other way."""

    def __init__(self) -> None:
        super().__init__()
        self.to_host: list[str] = []
        self.to_device: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
            sources = [each.device.type for each in given if each.dim() or func is torch.ops.aten._to_copy.default]
            if found.device.type == "cpu" and any(source != "cpu" for source in sources):
                self.to_host.append(str(func))
            if found.device.type != "cpu" and "cpu" in sources:
                self.to_device.append(str(func))
        return found


@pytest.fixture
def device() -> Iterator[torch.device]:
    with pretend_gpu() as there:
        yield there


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def placement(device: torch.device, request: pytest.FixtureRequest) -> Placement:
    return Placement(device, request.param)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Shapes of what was read; every number read is 0."""
    shapes: list[list[int]] = []

    def made_up(tensor: Tensor) -> list[object]:
        assert tensor.device.type != "cpu"
        shapes.append(list(tensor.shape))
        return _zeros(list(tensor.shape))

    monkeypatch.setattr(transfer, "read", made_up)
    return shapes


def _zeros(shape: list[int]) -> list[object]:
    return [_zeros(shape[1:]) if shape[1:] else 0 for _ in range(shape[0])]


def model(placement: Placement, **options: object) -> DeviceModel:
    return tiny_model(placement=placement, **options)  # type: ignore[arg-type]


def test_the_pretended_device_catches_what_it_is_for(device: torch.device) -> None:
    """Negative control: mixing devices and looking at numbers raise."""
    there, here = torch.ones(3, device=device), torch.ones(3)
    with pytest.raises(RuntimeError, match="device"):
        there + here
    for look in (lambda: there.sum().item(), lambda: there.tolist(), lambda: bool(there.any())):
        with pytest.raises(DataDependentOutputException):
            look()
    with pytest.raises(DynamicOutputShapeException):
        there[there > 0]
    with Crossings() as crossings:
        there.cpu()
        here.to(device)
        there[torch.tensor([0])]
    assert len(crossings.to_host) == 1
    assert len(crossings.to_device) == 2


def test_passes_stay_on_the_device(placement: Placement) -> None:
    """Chains, trees, prompts in pieces, a trimmed head; logits are float32; up go integers and nothing comes down."""
    trimmed = replace(CONFIG, output_token_ids=(3, 4, 5), qk_norm=True)
    for each in (model(placement, max_length=600), model(placement, config=trimmed)):
        with Crossings() as crossings:
            logits = each.forward([Span(1, TOKEN_IDS[:5]), Span(2, TOKEN_IDS[:2], logits_from=1)])
            tree = each.forward([Span(1, [1, 2, 3], [-1, 0, 0])])
        assert (logits.shape, logits.device, logits.dtype) == ((6, 61), placement.device, torch.float32)
        assert (tree.shape, tree.device, tree.dtype) == ((3, 61), placement.device, torch.float32)
        assert crossings.to_host == []
    long = model(placement, max_length=600)
    assert long.forward([Span(1, [1] * 530, logits_from=529)]).shape == (1, 61)


def test_a_draft_loop_waits_for_nothing(placement: Placement) -> None:
    """Greedy, sampled and cut, several tokens deep: integers go up, and dice where there are any."""
    spans = [Span(1, [1, 2], logits_from=1), Span(2, [3])]
    cut = SamplingParams(temperature=1.0, top_p=0.5, top_k=3, min_p=0.1)
    for params in (SamplingParams(), SamplingParams(temperature=1.0), cut):
        for longest in (1, 6):
            each = model(placement)
            noise = [] if params.is_greedy else [[0.5] * 1, [0.5] * longest]
            with Crossings() as crossings:
                tokens, laws = each.draft_chains(spans, [1, longest], [params, params], noise)
            assert (tokens.shape, tokens.device) == ((2, longest), placement.device)
            assert laws is None if params.is_greedy else laws.shape == (2, longest, 61)
            assert crossings.to_host == []
            assert len(crossings.to_device) == (1 if params.is_greedy else 2)


def stack_of(placement: Placement, is_trimmed: bool) -> DraftStack:
    """Two drafts in three places, whose heads differ if they are trimmed."""
    kept = [(3, 4, 5), (1, 2, 3, 4)] if is_trimmed else [None, None]
    drafts = [model(placement, seed=n, config=replace(CONFIG, output_token_ids=kept[n])) for n in range(2)]
    return tiny_stack(drafts, 3, placement, head_size=4 if is_trimmed else None)


@pytest.mark.parametrize("is_trimmed", [False, True])
def test_a_loop_of_stacked_drafts_waits_for_nothing(placement: Placement, is_trimmed: bool) -> None:
    """One loop for requests of two drafts: up go integers, where each request sits, and dice where there are any."""
    stack = stack_of(placement, is_trimmed)
    spans = [Span(1, [1, 2], logits_from=1), Span(2, [3]), Span(3, [4])]
    for params in (SamplingParams(), SamplingParams(temperature=1.0, top_p=0.5)):
        noise = [] if params.is_greedy else [[0.5], [0.5] * 3, [0.5] * 2]
        with Crossings() as crossings:
            tokens, laws = stack.draft_chains([0, 1, 0], spans, [1, 3, 2], [params] * 3, noise)
        assert (tokens.shape, tokens.device) == ((3, 3), placement.device)
        assert laws is None if params.is_greedy else (laws.shape, laws.dtype) == ((3, 3, 61), torch.float32)
        assert crossings.to_host == []
        assert len(crossings.to_device) == (2 if params.is_greedy else 3)


def test_a_version_comes_to_its_place_on_the_device(placement: Placement) -> None:
    """Weights are copied within the device; what goes up is which tokens a trimmed head keeps."""
    for is_trimmed in (False, True):
        stack, kept = stack_of(placement, is_trimmed), (5, 6) if is_trimmed else None
        newer = model(placement, seed=3, config=replace(CONFIG, output_token_ids=kept))
        with Crossings() as crossings:
            stack.exchange(1, newer.config, newer.network.weights)
        assert crossings.to_host == []
        assert len(crossings.to_device) == is_trimmed


def test_weights_are_exchanged_on_the_device(placement: Placement) -> None:
    """What is prepared is there already; taking it over copies within the device."""
    each, other = model(placement), model(placement, seed=1)
    with Crossings() as crossings:
        each.exchange(other.network.weights)
    assert crossings.to_host == crossings.to_device == []


KINDS = {
    "plain": (None, SamplingParams(max_tokens=8)),
    "greedy": ("draft", SamplingParams(max_tokens=8)),
    "sampled": ("draft", SamplingParams(temperature=1.0, max_tokens=8)),
    "cut": ("draft", SamplingParams(temperature=1.0, top_p=0.9, max_tokens=8)),
    "copied": ("lookup", SamplingParams(temperature=1.0, max_tokens=8)),
    "copied greedily": ("lookup", SamplingParams(max_tokens=8)),
}


@pytest.mark.parametrize("kinds", [[kind] for kind in KINDS] + [list(KINDS)])
def test_a_step_reads_once(kinds: list[str], placement: Placement, reads: list[list[int]]) -> None:
    """Prompts, drafts, target and verification run without a look at a number; one small read ends the step."""
    drafters: dict[str, Drafter] = {
        "draft": DeviceDrafter(model(placement, seed=1, num_slots=6)),
        "lookup": PromptLookup(),
    }
    loop = make_loop(model(placement, num_slots=6), drafters, num_draft_tokens=3)
    for number, kind in enumerate(kinds):
        drafter, sampling = KINDS[kind]
        loop.admit(request_of(number, [1, 0, 1, 0], sampling, drafter))
    for steps in (1, 2, 3):
        with Crossings() as crossings:
            loop.step()
        assert crossings.to_host == []
        assert len(reads) == steps
        assert reads[-1][0] == len(kinds)
        assert reads[-1][1] <= 3 + 2
    assert loop.num_running == len(kinds)


@pytest.mark.parametrize("is_trimmed", [False, True])
def test_a_step_with_stacked_drafts_reads_once(is_trimmed: bool, placement: Placement, reads: list[list[int]]) -> None:
    """Greedy, sampled and cut requests of two drafts in one loop."""
    joint = StackedDrafts(stack_of(placement, is_trimmed))
    drafters: dict[str, Drafter] = {str(place): joint.drafter(joint.stack.drafts[place]) for place in range(2)}
    loop = make_loop(model(placement, num_slots=6), drafters, num_draft_tokens=3)
    for number, kind in enumerate(["greedy", "sampled", "cut", "greedy"]):
        loop.admit(request_of(number, [1, 0, 1, 0], KINDS[kind][1], str(number % 2)))
    for steps in (1, 2, 3):
        with Crossings() as crossings:
            loop.step()
        assert crossings.to_host == []
        assert [shape[0] for shape in reads] == [4] * steps


def test_a_look_in_the_middle_of_a_step_is_found(placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a verification that asks whether anything was accepted cannot pass here."""

    def curious(logits: Tensor, chains: Chains) -> Tensor:
        verdicts = verify_greedily(logits, chains)
        assert not verdicts[:, 0].any()
        return verdicts

    monkeypatch.setattr(decoding.device.loop, "verify_greedily", curious)
    loop = make_loop(model(placement), {})
    loop.admit(request_of(0, [1, 2], SamplingParams(max_tokens=4)))
    with pytest.raises(DataDependentOutputException):
        loop.step()


def test_flash_attention_gets_what_its_signature_says(device: torch.device) -> None:
    """Shapes and devices only: the kernel itself runs nowhere but on a GPU."""
    queries = torch.empty(5, 4, 64, device=device, dtype=torch.bfloat16)
    keys = torch.empty(3, 2, 256, 64, device=device, dtype=torch.bfloat16)
    slots, places = (torch.zeros(5, dtype=torch.int64, device=device) for _ in range(2))
    for num_splits, has_key_starts in ((None, False), (1, True)):
        found = paged_attention(queries, keys, keys, slots, places, num_splits, has_key_starts)
        assert (found.shape, found.device) == (queries.shape, device)
