"""The step loop on a device says what the target alone would say, and reads once a step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

import pytest
import torch
from scipy.stats import chi2

import decoding.device.verification
from decoding.device import transfer
from decoding.device.loop import DeviceStepLoop, make_loop
from decoding.device.model import DeviceModel
from decoding.device.placement import CPU
from decoding.drafter import Drafter
from decoding.lossy import Typical
from decoding.request import SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from decoding.torch_model import TorchModel
from drafts.device_drafter import DeviceDrafter
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from drafts.pool import DraftPool, DraftSpec
from drafts.prompt_lookup import PromptLookup
from drafts.tree_drafter import TreeDrafter
from tests.decoding.conftest import Checkpoint
from tests.decoding.device.recorded import recorded_graphs
from tests.decoding.device.tiny import CONFIG, TOKEN_IDS, request_of, small_config, tiny_model, tiny_weights

PROMPTS = [TOKEN_IDS[start : start + 3 + start % 4] for start in range(10)]
GREEDY = SamplingParams(max_tokens=14)


def device_loop(captured: bool = False, num_slots: int = 4) -> DeviceStepLoop:
    """Drafts that are the target itself, close to it, nothing like it, trees, merged ones, and copies."""

    def model(seed: int, close_to: int | None = None) -> DeviceModel:
        graphs = recorded_graphs() if captured else None
        return tiny_model(seed, graphs=graphs, num_slots=num_slots, close_to=close_to)

    near, far = DeviceDrafter(model(1, close_to=0)), DeviceDrafter(model(2))
    drafters: dict[str, Drafter] = {
        "twin": DeviceDrafter(model(0)),
        "near": near,
        "far": far,
        "tree": TreeDrafter(model(1, close_to=0), Expansion((2, 2))),
        "merged": MergedDrafter({"near": near, "far": far}),
        "lookup": PromptLookup(),
    }
    loop = make_loop(model(0), drafters, num_draft_tokens=3)
    assert isinstance(loop, DeviceStepLoop)
    return loop


def plain_answers(sampling: SamplingParams = GREEDY) -> list[list[int]]:
    """What the CPU's reference says, without any draft."""
    requests = [request_of(number, prompt, sampling) for number, prompt in enumerate(PROMPTS)]
    StepLoop(TorchModel(CONFIG, tiny_weights(), 4, 64), {}).run(requests)
    return [request.generated for request in requests]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of everything that was read from the device."""
    sizes: list[int] = []

    def counted(tensor: torch.Tensor) -> list[object]:
        sizes.append(tensor.numel())
        return tensor.tolist()

    monkeypatch.setattr(transfer, "read", counted)
    return sizes


EVERYBODY = [(name, False) for name in (None, "twin", "near", "far", "tree", "merged", "lookup")]


@pytest.mark.parametrize(("drafter", "captured"), [*EVERYBODY, (None, True), ("near", True)])
def test_greedy_answers_are_the_targets(drafter: str | None, captured: bool) -> None:
    """Whoever drafts, eager or captured, with requests that come and go."""
    requests = [request_of(number, prompt, GREEDY, drafter) for number, prompt in enumerate(PROMPTS)]
    loop = device_loop(captured)
    loop.run(requests)
    assert [request.generated for request in requests] == plain_answers()
    assert loop.target.cache.num_free == 4
    if drafter == "twin":
        assert all(request.counts.alpha == 1 for request in requests)
    if drafter == "near":
        assert 0.1 < requests[0].counts.total([each.counts for each in requests]).alpha < 1


def test_all_drafters_in_one_batch_read_once_a_step(reads: list[int]) -> None:
    """Chains of several drafts, copies and plain requests side by side; and the read is a few numbers a request."""
    names = [None, "twin", "near", "far", "lookup"]
    requests = [request_of(number, prompt, GREEDY, names[number % 5]) for number, prompt in enumerate(PROMPTS)]
    loop = device_loop()
    loop.run(requests)
    assert [request.generated for request in requests] == plain_answers()
    assert len(reads) == loop.times.num_steps
    assert max(reads) <= 4 * (3 + 2)


@pytest.mark.parametrize("sampling", [SamplingParams(temperature=0.9, max_tokens=9), GREEDY])
def test_sampling_reads_once_a_step_too(sampling: SamplingParams, reads: list[int]) -> None:
    """Draws of drafts and of the verification happen on the device; greedy and sampled requests mix."""
    other = SamplingParams(temperature=1.2, top_p=0.9, top_k=20, max_tokens=12)
    loop = device_loop()
    loop.run([request_of(n, prompt, (sampling, other)[n % 2], "near") for n, prompt in enumerate(PROMPTS)])
    assert len(reads) == loop.times.num_steps


def test_a_long_prompt_alone_reads_nothing(reads: list[int]) -> None:
    """A step that finishes no request's prompt has nothing to say."""
    loop = device_loop()
    loop.max_rows = 4
    loop.admit(request_of(0, TOKEN_IDS[:10], GREEDY, "near"))
    assert loop.step() == []
    assert reads == []


UNUSUAL = {
    "penalties": SamplingParams(max_tokens=12, repetition_penalty=1.5, presence_penalty=0.4),
    "bias": SamplingParams(max_tokens=12, logit_bias=((3, 2.0), (4, -3.0))),
    "log-probabilities": SamplingParams(max_tokens=12, num_logprobs=3),
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("drafter", ["near", "lookup", "tree"])
def test_unusual_requests_get_their_answers(kind: str, drafter: str) -> None:
    """What the device does not verify by itself goes the CPU's way, also beside ordinary requests."""
    unusual = [request_of(number, prompt, UNUSUAL[kind], drafter) for number, prompt in enumerate(PROMPTS[:4])]
    usual = request_of(9, PROMPTS[9], GREEDY, "near")
    device_loop(num_slots=5).run([*unusual, usual])
    assert usual.generated == plain_answers()[9]
    assert [request.generated for request in unusual] == plain_answers(UNUSUAL[kind])[:4]


def test_lossy_and_penalised_sampling_run(reads: list[int]) -> None:
    """Both draw on the host, beside requests that do not."""
    lossy = SamplingParams(temperature=1.0, max_tokens=8, lossy=Typical())
    penalised = SamplingParams(temperature=1.0, max_tokens=8, frequency_penalty=0.5)
    kinds = [lossy, penalised, SamplingParams(temperature=1.0, max_tokens=8)]
    requests = [request_of(n, prompt, kinds[n % 3], ("near", "lookup")[n % 2]) for n, prompt in enumerate(PROMPTS)]
    device_loop().run(requests)
    assert [len(request.generated) for request in requests] == [8] * len(PROMPTS)


def test_a_draft_may_be_left_and_taken_up_again() -> None:
    """Catching up after plain steps, and a cancelled neighbour."""
    loop = device_loop()
    request, other = request_of(0, PROMPTS[0], GREEDY, "near"), request_of(1, PROMPTS[1], GREEDY, "near")
    loop.admit(request)
    loop.admit(other)
    for turn in range(20):
        loop.step()
        loop.assign("0", ("near", None, "far", "lookup")[turn % 4])
        if turn == 1:
            loop.cancel("1")
    assert request.generated == plain_answers()[0]


def test_a_pool_of_device_models_swaps_versions_between_steps(checkpoint: Checkpoint) -> None:
    """Drafts that are loaded on first use, merged, and replaced in mid-answer, on a target of another family."""
    folders = {name: checkpoint(family) for name, family in (("target", "qwen3"), ("sql", "llama"), ("new", "qwen3"))}
    pool = DraftPool(
        {name: DraftSpec(name, f"{name}@v1", folders["sql"]) for name in ("general", "sql")},
        lambda folder: DeviceModel.from_folder(folder, 4, 64, CPU),
    )
    target = DeviceModel.from_folder(folders["target"], 4, 64, CPU)
    loop = make_loop(target, pool, num_draft_tokens=3)
    names = [pool.select(name) for name in ("sql", "general", "sql+general", "lookup")]
    requests = [request_of(n, PROMPTS[n], SamplingParams(max_tokens=24), name) for n, name in enumerate(names)]
    for request in requests:
        loop.admit(request)
    for _ in range(4):
        loop.step()
    spec = DraftSpec("sql", "sql@v2", folders["new"])
    pool.replace(spec, pool.loaded(spec))
    assert isinstance(pool["sql"], DeviceDrafter)
    loop.run([])
    plain = [request_of(n, PROMPTS[n], SamplingParams(max_tokens=24)) for n in range(4)]
    StepLoop(TorchModel.from_folder(folders["target"], 4, 64), {}).run(plain)
    assert [request.generated for request in requests] == [request.generated for request in plain]
    assert requests[0].counts.num_accepted_tokens > requests[1].counts.num_accepted_tokens  # the new one is the target


VOCAB_SIZE, BATCH, COUNT = 4, 64, 12_288
CUT = SamplingParams(temperature=1.1, top_p=0.9, max_tokens=2)
KINDS: list[tuple[str | None, SamplingParams, tuple[int, ...]]] = [
    (None, SamplingParams(temperature=1.0, max_tokens=2), (1,)),
    ("near", SamplingParams(temperature=1.3, max_tokens=2), (1,)),
    ("near", CUT, (1, 2)),
    ("lookup", SamplingParams(temperature=1.0, max_tokens=2), (1, 0, 1, 0)),
]


def small_target() -> DeviceModel:
    return tiny_model(0, small_config(VOCAB_SIZE), num_slots=BATCH, max_length=16)


def answers() -> Iterator[tuple[int, tuple[int, ...]]]:
    """Number of its kind, and answer, of many sampled requests in batches of all kinds."""
    near = tiny_model(1, small_config(VOCAB_SIZE), num_slots=BATCH, max_length=16, close_to=0)
    drafters: dict[str, Drafter] = {"near": DeviceDrafter(near), "lookup": PromptLookup()}
    loop = make_loop(small_target(), drafters, num_draft_tokens=2)
    for start in range(0, COUNT, BATCH):
        requests = [request_of(n, list(KINDS[n % 4][2]), *KINDS[n % 4][1::-1]) for n in range(start, start + BATCH)]
        loop.run(requests)
        yield from ((index % 4, tuple(request.generated)) for index, request in enumerate(requests))


def law(kind: int) -> dict[tuple[int, ...], float]:
    """Of all answers of one kind, from the target alone."""
    from decoding.sampling import probabilities

    _, sampling, prompt = KINDS[kind]
    target = small_target()

    def following(answer: Sequence[int]) -> list[float]:
        rows = [*prompt, *answer]
        logits = target.forward([Span(1, rows, logits_from=len(rows) - 1)])
        return probabilities(logits, sampling)[0].tolist()

    first = following([])
    both = product(range(VOCAB_SIZE), repeat=2)
    return {(a, b): first[a] * following([a])[b] for a, b in both}


def p_value() -> float:
    seen = Counter(answers())
    statistic, cells = 0.0, 0
    for kind in range(4):
        total = sum(count for (owner, _), count in seen.items() if owner == kind)
        wanted = [(probability * total, seen[kind, answer]) for answer, probability in law(kind).items()]
        assert all(not found for expected, found in wanted if expected == 0)
        common = [cell for cell in wanted if cell[0] >= 10]
        rare = [sum(column) for column in zip(*(cell for cell in wanted if cell[0] < 10), strict=True)]
        for expected, found in [*common, *([rare] if rare and rare[0] > 1 else [])]:
            statistic += (found - expected) ** 2 / expected
            cells += 1
    return float(chi2.sf(statistic, cells - 4))


def test_sampled_answers_follow_the_targets_law() -> None:
    """Chi-square through the whole loop: drafts, copies, cuts and plain requests in one batch."""
    assert p_value() > 1e-3


def test_a_broken_rule_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the draft's law is not subtracted from the target's after a refusal."""
    monkeypatch.setattr(decoding.device.verification, "recovered_weights", lambda target, *_: target)
    assert p_value() < 1e-9


def test_the_cpu_keeps_its_own_loop() -> None:
    """A target on the CPU gets the plain step loop and the plain drafter."""
    target = TorchModel(CONFIG, tiny_weights(), 4, 64)
    assert type(make_loop(target, {"draft": ModelDrafter(target)})) is StepLoop
    assert CPU.is_cpu
