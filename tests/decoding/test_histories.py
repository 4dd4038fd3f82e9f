"""Every cache holds what a fresh pass would, whatever has happened.

Tokens accepted and refused, trees, other drafts and other weights in mid-answer, plain steps between.
"""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.checkpoint import read_config, read_weights
from decoding.model import LanguageModel
from decoding.native_model import NativeModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from decoding.torch_model import TorchModel
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.tree_drafter import TreeDrafter
from tests.decoding.conftest import write_checkpoint
from tests.toys import ToyModel

NAMES = ("twin", "kin", "stranger", "tree", "merged", "lookup")
PROBE = 7

admissions = st.tuples(st.just("admit"), st.integers(1, 9), st.sampled_from((0.0, 0.9)))
swaps = st.tuples(st.just("swap"), st.integers(0, 3), st.sampled_from((None, *NAMES)))
exchanges = st.tuples(st.just("exchange"), st.integers(0, 1), st.sampled_from(("twin", "kin", "stranger")))
lengths = st.tuples(st.just("length"), st.integers(0, 3), st.integers(0, 5))
cancellations = st.tuples(st.just("cancel"), st.integers(0, 3), st.none())
steps = st.tuples(st.just("step"), st.integers(1, 3), st.none())
histories = st.lists(
    st.one_of(steps, steps, swaps, exchanges, lengths, admissions, cancellations), min_size=4, max_size=24
)


class Bench:
    """A target, drafts from its twin to a stranger, and the loop that they share."""

    def __init__(self, make, folder):
        config, weights = read_config(folder, 64), read_weights(folder)
        torch.manual_seed(1)

        def model() -> LanguageModel:
            return make(config, weights, num_slots=6, max_length=64)

        self.target, twin, kin, stranger = (model() for _ in range(4))
        self.models = {"twin": twin, "kin": kin, "stranger": stranger}
        self.versions = {  # of every draft two: what it begins with, and another
            name: [
                drafter.prepare({name: _noisy(tensor, noise) for name, tensor in weights.items()})
                for noise in (first, 0.05)
            ]
            for (name, drafter), first in zip(self.models.items(), (0.0, 0.004, 1.0), strict=True)
        }
        single = {name: ModelDrafter(model) for name, model in self.models.items()}
        self.drafters = {
            **single,
            "tree": TreeDrafter(kin, Expansion((3, 2, 1))),
            "merged": MergedDrafter({"kin": single["kin"], "stranger": single["stranger"]}),
            "lookup": PromptLookup(),
        }
        self.begin()

    def begin(self) -> None:
        """Every draft has its first version."""
        for name in self.models:
            self.exchange(name, 0)

    def exchange(self, name: str, version: int) -> None:
        """Put other weights into a draft in place; whatever it had cached goes, as where serving swaps versions."""
        for drafter in self.drafters.values():
            if isinstance(drafter, ModelDrafter) and drafter.model is self.models[name]:
                drafter.clear()
        self.models[name].exchange(self.versions[name][version])

    def check(self, request: Request, loop: StepLoop) -> None:
        """The request's rows in the target's cache and in its drafts' are those of a fresh pass, bit for bit."""
        slot = loop._running[request.request_id][1]
        assert_fresh(self.target, slot, request.token_ids[: self.target.cache.lengths[slot]])
        for drafter in self.drafters.values():
            if isinstance(drafter, ModelDrafter) and request.request_id in drafter._slots:
                slot = drafter._slots[request.request_id]
                held = drafter.model.cache.lengths[slot]
                assert held <= len(request.token_ids)
                assert_fresh(drafter.model, slot, request.token_ids[:held])


def _noisy(tensor: torch.Tensor, noise: float) -> torch.Tensor:
    return tensor.float() + noise * torch.randn_like(tensor.float())


def assert_fresh(model: LanguageModel, slot: int, text: Sequence[int]) -> None:
    cached = model.forward([Span(slot, [PROBE])]).clone()
    spare = model.cache.allocate()
    fresh = model.forward([Span(spare, [*text, PROBE], logits_from=len(text))])
    model.cache.release(spare)
    assert torch.equal(cached, fresh)


@pytest.fixture(scope="module", params=["native", "torch"])
def bench(request, tmp_path_factory):
    folder = write_checkpoint(tmp_path_factory.mktemp("model") / "qwen3", "qwen3")
    return Bench(NativeModel if request.param == "native" else TorchModel, folder)


def replay(bench: Bench, history) -> list[Request]:
    """Act it out, checking all caches after each step; every request gets three steps more in the end."""
    loop, requests = StepLoop(bench.target, bench.drafters), []
    try:
        for what, number, detail in [("admit", 3, 0.0), *history, ("step", 3, None)]:
            act(bench, loop, requests, what, number, detail)
            for request in requests:
                if request.request_id in loop._running:
                    bench.check(request, loop)
    finally:  # a history that fails leaves no slot taken for the next one
        for request in requests:
            loop.cancel(request.request_id)
        bench.begin()
    return requests


def act(bench: Bench, loop: StepLoop, requests: list[Request], what: str, number: int, detail) -> None:
    running = [request for request in requests if request.request_id in loop._running]
    if what == "admit" and len(loop.requests) < 4:  # waiting ones too: the check needs a spare slot
        prompt = [(number * position) % 11 for position in range(number)]
        sampling = SamplingParams(temperature=detail, max_tokens=30)
        requests.append(Request(str(len(requests)), prompt, sampling, SeededRandomness(number), drafter="kin"))
        loop.admit(requests[-1])
    elif what == "step":
        for _ in range(number):
            loop.step()
    elif what == "exchange":
        bench.exchange(detail, number)
    elif running:
        request = running[number % len(running)]
        if what == "swap":
            loop.assign(request.request_id, detail)
        elif what == "length":
            request.num_draft_tokens = detail
        elif what == "cancel":
            loop.cancel(request.request_id)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(history=histories)
def test_caches_hold_what_a_fresh_pass_would(bench, history):
    """Target's and drafts', chains' and trees', while batch mates come and go."""
    requests = replay(bench, history)
    for model in (bench.target, *bench.models.values()):
        assert model.cache.num_free == 6
    assert any(request.generated for request in requests)


def test_histories_meet_everything(bench):
    """What the property relies on: proposals wholly accepted, partly, not at all, and trees off their first branch."""
    counts = {}
    for name in NAMES:
        (request,) = replay(bench, [("step", 1, None), ("swap", 0, name), ("length", 0, 4), ("step", 3, None)])
        counts[name] = request.counts
    assert counts["twin"].num_accepted_tokens == counts["twin"].num_draft_tokens > 0
    assert 0 < counts["kin"].num_accepted_tokens < counts["kin"].num_draft_tokens
    assert counts["stranger"].num_accepted_tokens < 3
    assert counts["tree"].num_accepted_tokens > 0


def test_a_draft_with_other_weights_reads_the_text_anew(bench):
    """Between two proposals, alone, as a tree and merged: it goes on proposing, and from what the new weights say."""
    for name in ("kin", "tree", "merged"):
        before = [("step", 1, None), ("swap", 0, name), ("length", 0, 3), ("step", 1, None)]
        (kept,) = replay(bench, [*before, ("step", 3, None)])
        (changed,) = replay(bench, [*before, ("exchange", 1, "kin"), ("step", 3, None)])
        common = min(len(kept.generated), len(changed.generated))
        assert kept.generated[:common] == changed.generated[:common]
        assert changed.counts.num_draft_tokens > 3
        assert changed.counts.num_accepted_tokens != kept.counts.num_accepted_tokens


def test_a_stale_cache_is_noticed(bench):
    """Negative control: where nothing is cleared with the old weights, rows stay that no fresh pass would write."""
    loop = StepLoop(bench.target, bench.drafters)
    request = Request("r", [1, 2, 3], SamplingParams(max_tokens=30), SeededRandomness(0), drafter="kin")
    loop.admit(request)
    for _ in range(3):
        loop.step()
    bench.models["kin"].exchange(bench.versions["kin"][1])
    with pytest.raises(AssertionError):
        bench.check(request, loop)
    loop.cancel("r")
    bench.begin()


def test_a_copied_slot_continues_as_its_source_does():
    """Keys, values and length; what is then written to one is not seen by the other."""
    model = ToyModel(5, 3, memory=4)
    one, other = model.cache.allocate(), model.cache.allocate()
    model.forward([Span(one, [1, 4, 2])])
    model.cache.commit(one, range(3))
    model.cache.copy(one, other)
    both = model.forward([Span(one, [3]), Span(other, [3])])
    assert torch.equal(both[0], both[1])
    assert torch.equal(both[0], model.logits([1, 4, 2, 3]))
    model.cache.commit(one, [0])
    assert model.cache.lengths[other] == 3
    assert torch.equal(model.forward([Span(other, [0])])[0], model.logits([1, 4, 2, 0]))
