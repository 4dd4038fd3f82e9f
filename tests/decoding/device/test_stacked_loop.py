"""The step loop with stacked drafts: the target's answers, the single drafts' proposals, one draft loop a step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from decoding.config import ModelConfig
from decoding.device import transfer
from decoding.device.loop import DeviceStepLoop, make_loop
from decoding.device.model import DeviceModel
from decoding.device.stack import DraftStack
from decoding.drafter import Drafter
from decoding.request import Request, SamplingParams
from decoding.sampling import probabilities
from decoding.span import Span
from decoding.step_loop import StepLoop
from decoding.torch_model import TorchModel
from drafts.device_drafter import DeviceDrafter
from drafts.merged_drafter import MergedDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.stacked_drafter import StackedDrafts
from tests.decoding.device.recorded import recorded_graphs
from tests.decoding.device.tiny import (
    CONFIG,
    TOKEN_IDS,
    request_of,
    small_config,
    tiny_model,
    tiny_stack,
    tiny_weights,
)

PROMPTS = [TOKEN_IDS[start : start + 3 + start % 4] for start in range(12)]
GREEDY = SamplingParams(max_tokens=14)
DRAWN = SamplingParams(temperature=0.9, top_p=0.95, max_tokens=14)
NAMES = ["twin", "near", "far", "trimmed"]
EVEN = tuple(range(0, 61, 2))


def drafts(num_slots: int = 6) -> list[DeviceModel]:
    """The target itself, one close to it, one that is nothing like it, and a close one that lacks half the tokens."""
    trimmed = replace(CONFIG, output_token_ids=EVEN)
    return [
        tiny_model(0, num_slots=num_slots),
        tiny_model(1, num_slots=num_slots, close_to=0),
        tiny_model(2, num_slots=num_slots),
        tiny_model(3, trimmed, num_slots=num_slots, close_to=0),
    ]


def stacked(models: Sequence[DeviceModel], captured: bool = False, num_slots: int = 12) -> StackedDrafts:
    """One place more than there are models."""
    graphs = recorded_graphs() if captured else None
    return StackedDrafts(
        tiny_stack(models, len(models) + 1, graphs=graphs, num_slots=num_slots, head_size=models[0].config.vocab_size)
    )


def loop_of(drafters: dict[str, Drafter], captured: bool = False, num_slots: int = 6) -> DeviceStepLoop:
    target = tiny_model(0, graphs=recorded_graphs() if captured else None, num_slots=num_slots)
    loop = make_loop(target, drafters, num_draft_tokens=3)
    assert isinstance(loop, DeviceStepLoop)
    return loop


def stacked_drafters(captured: bool = False) -> dict[str, Drafter]:
    joint = stacked(drafts(), captured)
    members = [joint.drafter(joint.stack.drafts[place]) for place in range(len(NAMES))]
    both = MergedDrafter({"near": members[1], "far": members[2]})
    return dict(zip(NAMES, members, strict=True)) | {"lookup": PromptLookup(), "near+far": both}


def requests_of(names: Sequence[str | None], samplings: Sequence[SamplingParams]) -> list[Request]:
    return [
        request_of(n, prompt, samplings[n % len(samplings)], names[n % len(names)]) for n, prompt in enumerate(PROMPTS)
    ]


def plain_answers(sampling: SamplingParams = GREEDY) -> list[list[int]]:
    requests = requests_of([None], [sampling])
    StepLoop(TorchModel(CONFIG, tiny_weights(), 6, 64), {}).run(requests)
    return [request.generated for request in requests]


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The places that each joint loop had requests of."""
    seen: list[set[int]] = []
    run = DraftStack.draft_chains

    def counted(stack: DraftStack, places: Sequence[int], *rest: object) -> object:
        seen.append({*places})
        return run(stack, places, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(DraftStack, "draft_chains", counted)
    return seen


@pytest.mark.parametrize("captured", [False, True])
def test_greedy_answers_are_the_targets(captured: bool, loops: list[set[int]]) -> None:
    """All drafts in one batch, requests that come and go, copies and plain ones beside them."""
    drafters = stacked_drafters(captured)
    requests = requests_of([*NAMES, None, "lookup"], [GREEDY])
    loop = loop_of(drafters, captured)
    loop.run(requests)
    assert [request.generated for request in requests] == plain_answers()
    assert all(request.counts.alpha == 1 for request in requests if request.drafter == "twin")
    assert max(len(places) for places in loops) == 4
    assert len(loops) <= loop.times.num_steps
    members = [drafters[name] for name in NAMES]
    assert [drafter.num_requests for drafter in members] == [0] * 4  # type: ignore[attr-defined]
    assert members[0].model.cache.num_free == 12  # type: ignore[attr-defined]


@pytest.mark.parametrize("samplings", [[GREEDY], [DRAWN], [GREEDY, DRAWN, replace(DRAWN, temperature=1.4)]])
def test_proposals_and_counts_are_those_of_single_drafts(samplings: list[SamplingParams]) -> None:
    """The same dice: whatever a request drew and accepted with a draft of its own, it draws and accepts here."""
    found = []
    single = dict(zip(NAMES, map(DeviceDrafter, drafts()), strict=True))
    for drafters in (stacked_drafters(), single):
        requests = requests_of(NAMES, samplings)
        loop_of(dict(drafters)).run(requests)
        found.append([(request.generated, request.counts) for request in requests])
    assert found[0] == found[1]


def test_a_step_of_all_drafts_is_one_loop_and_one_read(monkeypatch: pytest.MonkeyPatch, loops: list[set[int]]) -> None:
    """Greedy and sampled requests of four drafts: every draft loop is everybody's, and the step reads once."""
    sizes: list[int] = []
    read = transfer.read
    monkeypatch.setattr(transfer, "read", lambda tensor: (sizes.append(tensor.numel()), read(tensor))[1])
    loop = loop_of(stacked_drafters())
    for request in requests_of(NAMES, [replace(GREEDY, max_tokens=40), replace(DRAWN, max_tokens=40)])[:4]:
        loop.admit(request)
    for _ in range(6):
        loop.step()
    assert loops == [{0, 1, 2, 3}] * 5  # the first step reads prompts
    assert len(sizes) == 6
    assert max(sizes) <= 4 * (3 + 2)


def test_one_draft_alone_runs_on_its_place(loops: list[set[int]]) -> None:
    """No loop over the stack where only one of its drafts has requests."""
    requests = requests_of(["near"], [GREEDY])
    loop_of(stacked_drafters()).run(requests)
    assert [request.generated for request in requests] == plain_answers()
    assert loops == []


def test_unusual_requests_beside_usual_ones() -> None:
    """Penalties are drafted for token by token on the draft's place; merged drafts share a loop."""
    unusual = SamplingParams(max_tokens=14, repetition_penalty=1.5, presence_penalty=0.4)
    requests = requests_of([*NAMES, "near+far"], [GREEDY, unusual])
    loop_of(stacked_drafters()).run(requests)
    expected = [plain_answers(), plain_answers(unusual)]
    assert [request.generated for request in requests] == [expected[n % 2][n] for n in range(len(PROMPTS))]


def test_merged_drafts_say_what_they_say_alone(loops: list[set[int]]) -> None:
    """One loop for both, and the very trees of single drafts."""
    single = MergedDrafter(dict(zip(("near", "far"), map(DeviceDrafter, drafts()[1:3]), strict=True)))
    counts = []
    for drafters in (stacked_drafters(), {"near+far": single}):
        requests = requests_of(["near+far"], [GREEDY])
        loop_of(dict(drafters)).run(requests)
        assert [request.generated for request in requests] == plain_answers()
        counts.append([request.counts for request in requests])
    assert counts[0] == counts[1]
    assert {*map(tuple, loops)} == {(1, 2)}


def test_without_a_slot_nothing_is_proposed() -> None:
    """The cache is common: who finds it full goes without a draft, and gets the target's answer."""
    joint = stacked(drafts(), num_slots=2)
    drafters: dict[str, Drafter] = {name: joint.drafter(joint.stack.drafts[n]) for n, name in enumerate(NAMES)}
    requests = requests_of(NAMES, [GREEDY])
    loop_of(drafters).run(requests)
    assert [request.generated for request in requests] == plain_answers()
    assert any(request.counts.num_drafts == 0 for request in requests)
    assert any(request.counts.num_drafts > 0 for request in requests)


def test_a_version_takes_a_place_over_in_mid_answer() -> None:
    """The others go on as if nothing had happened, and everybody says what the target says."""
    counts = []
    for is_swapped in (False, True):
        joint = stacked(drafts())
        drafters: dict[str, Drafter] = {name: joint.drafter(joint.stack.drafts[n]) for n, name in enumerate(NAMES)}
        loop = loop_of(drafters)
        requests = requests_of(NAMES, [replace(GREEDY, max_tokens=30)])[:4]
        for request in requests:
            loop.admit(request)
        for _ in range(4):
            loop.step()
        if is_swapped:
            twin = drafts()[0]
            drafters["far"].clear()  # type: ignore[attr-defined]
            drafters["far"] = joint.drafter(joint.stack.exchange(2, twin.config, twin.network.weights))
        loop.run([])
        assert [request.generated[:14] for request in requests] == plain_answers()[:4]
        counts.append([request.counts for request in requests])
    assert [counts[0][n] == counts[1][n] for n in range(4)] == [True, True, False, True]
    assert counts[1][2].num_accepted_tokens > counts[0][2].num_accepted_tokens


VOCAB_SIZE, BATCH, COUNT = 4, 64, 12_288
SMALL = small_config(VOCAB_SIZE)
KINDS = [
    ("near", SamplingParams(temperature=1.3, max_tokens=2), (1,)),
    ("some", SamplingParams(temperature=1.0, max_tokens=2), (1,)),
    ("far", SamplingParams(temperature=1.1, top_p=0.9, max_tokens=2), (1, 2)),
    ("near", SamplingParams(temperature=0.8, max_tokens=2), (3,)),
]


def small_model(seed: int, config: ModelConfig = SMALL, close_to: int | None = None) -> DeviceModel:
    return tiny_model(seed, config, num_slots=BATCH, max_length=16, close_to=close_to)


def answers() -> Iterator[tuple[int, tuple[int, ...]]]:
    """Number of its kind, and answer, of many sampled requests in batches of all kinds and drafts."""
    some = replace(SMALL, output_token_ids=(0, 2, 3))
    models = [small_model(1, close_to=0), small_model(2, some, close_to=0), small_model(3)]
    joint = StackedDrafts(tiny_stack(models, 3, num_slots=BATCH, max_length=16, head_size=VOCAB_SIZE))
    drafters: dict[str, Drafter] = {
        name: joint.drafter(joint.stack.drafts[place]) for place, name in enumerate(("near", "some", "far"))
    }
    loop = make_loop(small_model(0), drafters, num_draft_tokens=2)
    for start in range(0, COUNT, BATCH):
        kinds = [KINDS[n % 4] for n in range(start, start + BATCH)]
        requests = [
            request_of(start + n, list(prompt), sampling, name) for n, (name, sampling, prompt) in enumerate(kinds)
        ]
        loop.run(requests)
        yield from ((index % 4, tuple(request.generated)) for index, request in enumerate(requests))


def law(kind: int) -> dict[tuple[int, ...], float]:
    """Of all answers of one kind, from the target alone."""
    target, (_, sampling, prompt) = small_model(0), KINDS[kind]

    def following(answer: Sequence[int]) -> list[float]:
        rows = [*prompt, *answer]
        found: list[float] = probabilities(target.forward([Span(1, rows, logits_from=len(rows) - 1)]), sampling)[
            0
        ].tolist()
        return found

    first = following([])
    return {(a, b): first[a] * following([a])[b] for a, b in product(range(VOCAB_SIZE), repeat=2)}


def p_value() -> float:
    """Of chi-square over all answers of all kinds, the rare ones of a kind together; 0 for what cannot be."""
    seen = Counter(answers())
    statistic, cells = 0.0, 0
    for kind in range(4):
        wanted = [(probability * COUNT / 4, seen[kind, answer]) for answer, probability in law(kind).items()]
        if any(found for expected, found in wanted if not expected):
            return 0.0
        rare = [cell for cell in wanted if cell[0] < 10]
        pooled = [(sum(cell[0] for cell in rare), sum(cell[1] for cell in rare))] if rare else []
        for expected, found in [*(cell for cell in wanted if cell[0] >= 10), *pooled]:
            if expected > 1:
                statistic += (found - expected) ** 2 / expected
                cells += 1
    return float(chi2.sf(statistic, cells - 4))


def test_sampled_answers_follow_the_targets_law() -> None:
    """Stacked drafts of several laws, one with a trimmed head, in one batch."""
    assert p_value() > 1e-3


def test_laws_of_another_request_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: tokens that are verified by the law of the request next to theirs bias the answers."""
    run = DraftStack.draft_chains

    def rolled(stack: DraftStack, *given: object) -> tuple[Tensor, Tensor | None]:
        tokens, laws = run(stack, *given)  # type: ignore[arg-type]
        assert laws is not None
        return tokens, torch.roll(laws, 1, dims=0)

    monkeypatch.setattr(DraftStack, "draft_chains", rolled)
    assert p_value() < 1e-6
