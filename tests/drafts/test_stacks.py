"""Drafts of one shape come into one stack on a device, leave their places to others, and answers stay the target's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from decoding.config import ModelConfig
from decoding.device.loop import make_loop
from decoding.device.model import DeviceModel
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from decoding.torch_model import TorchModel
from drafts.device_drafter import DeviceDrafter
from drafts.expansion import Expansion
from drafts.pool import DraftPool, DraftSpec
from drafts.stacked_drafter import StackedDrafter
from drafts.stacks import DraftStacks
from drafts.tree_drafter import TreeDrafter
from tests.decoding.device.tiny import CONFIG, TOKEN_IDS, request_of, tiny_model, tiny_weights

SLOTS, ROOM = 4, 1 << 30
OTHER = replace(CONFIG, num_layers=1)
TRIMMED = {
    "sql": replace(CONFIG, output_token_ids=tuple(range(30))),
    "math": replace(CONFIG, output_token_ids=tuple(range(0, 61, 3))),
}
TOPICS = ("general", "sql", "math")
SEEDS = {"general": 1, "sql": 2, "math": 3, "wide": 4}


def spec_of(topic: str, version: int = 1) -> DraftSpec:
    return DraftSpec(topic, f"{topic}@v{version}", Path(f"{topic}-{version}"))


def load(folder: Path, configs: dict[str, ModelConfig]) -> DeviceModel:
    """Any version of any topic; the ninth is the target itself, the others are close to it."""
    topic, _, version = folder.name.partition("-")
    config = configs.get(topic, CONFIG)
    if version == "9":
        return tiny_model(0, config, num_slots=SLOTS)
    return tiny_model(SEEDS[topic] + 10 * int(version), config, num_slots=SLOTS, close_to=0)


def pool_of(
    configs: dict[str, ModelConfig] | None = None,
    topics: tuple[str, ...] = TOPICS,
    memory_bytes: int = ROOM,
    expansion: Expansion | None = None,
) -> DraftPool:
    """Everything loaded."""
    shapes = configs or {}
    stacks = DraftStacks([shapes.get(topic, CONFIG) for topic in topics], SLOTS, memory_bytes)
    specs = {topic: spec_of(topic) for topic in topics}
    pool = DraftPool(specs, lambda folder: load(folder, shapes), True, memory_bytes, expansion, stacks)
    pool.preload()
    return pool


def place(pool: DraftPool, name: str) -> int | None:
    """Of a draft in its stack; None for one by itself."""
    drafter = pool[name]
    assert type(drafter) in (StackedDrafter, DeviceDrafter)
    return drafter.place if isinstance(drafter, StackedDrafter) else None


def swap(pool: DraftPool, spec: DraftSpec, configs: dict[str, ModelConfig] | None = None) -> None:
    pool.replace(spec, DeviceDrafter(load(spec.folder, configs or {})))


def requests_of(names: tuple[str, ...], max_tokens: int = 24) -> list[Request]:
    sampling = SamplingParams(max_tokens=max_tokens)
    return [request_of(n, TOKEN_IDS[n : n + 4], sampling, name) for n, name in enumerate(names)]


def answers(count: int, max_tokens: int = 24) -> list[list[int]]:
    requests = [replace(request, drafter=None) for request in requests_of(("",) * count, max_tokens)]
    StepLoop(TorchModel(CONFIG, tiny_weights(), SLOTS, 64), {}).run(requests)
    return [request.generated for request in requests]


def test_drafts_of_one_shape_share_a_stack() -> None:
    """Places in the order of their coming, one cache; a draft of another shape keeps its own model."""
    pool = pool_of({"wide": OTHER}, (*TOPICS, "wide"))
    assert [place(pool, name) for name in (*TOPICS, "wide")] == [0, 1, 2, None]
    stacked = [pool[name] for name in TOPICS]
    assert len({drafter.joint for drafter in stacked if isinstance(drafter, StackedDrafter)}) == 1
    assert len({id(drafter.model.cache) for drafter in stacked if isinstance(drafter, StackedDrafter)}) == 1
    requests = requests_of((*TOPICS, "wide"))
    make_loop(tiny_model(0, num_slots=SLOTS), pool, 3).run(requests)
    assert [request.generated for request in requests] == answers(4)
    assert all(request.counts.num_accepted_tokens for request in requests)


def test_memory_is_counted_by_places() -> None:
    """A stack is no larger than the budget; what its drafts are charged is what it holds without the spare place."""
    pool = pool_of()
    drafter = pool["sql"]
    assert isinstance(drafter, StackedDrafter)
    stack = drafter.joint.stack
    assert len(stack.drafts) == len(TOPICS) + 1
    assert 4 * drafter.num_bytes == pytest.approx(stack.num_bytes, abs=4)
    assert pool.used_bytes == 3 * drafter.num_bytes
    tight = pool_of(memory_bytes=stack.num_bytes - drafter.model.num_weight_bytes)
    small = tight["general"]
    assert isinstance(small, StackedDrafter)
    assert len(small.joint.stack.drafts) == 3
    assert place(pool_of(memory_bytes=stack.num_bytes // 8), "general") is None


def test_heads_of_several_sizes_come_together() -> None:
    """Trimmed ones beside a whole one; a version that keeps other tokens, too."""
    pool = pool_of(TRIMMED)
    newer = {"sql": replace(CONFIG, output_token_ids=tuple(range(20, 61)))}
    requests = requests_of(TOPICS)
    loop = make_loop(tiny_model(0, num_slots=SLOTS), pool, 3)
    for request in requests:
        loop.admit(request)
    for _ in range(3):
        loop.step()
    swap(pool, spec_of("sql", 2), newer)
    assert [place(pool, name) for name in TOPICS] == [0, 3, 2]
    loop.run([])
    assert [request.generated for request in requests] == answers(3)


def test_a_head_that_no_place_can_hold_is_left_outside() -> None:
    """All are small where the stack was made; a version with a whole head has a model of its own."""
    pool = pool_of(TRIMMED, ("sql", "math"))
    assert [place(pool, name) for name in ("sql", "math")] == [0, 1]
    swap(pool, spec_of("sql", 2))
    assert place(pool, "sql") is None
    requests = requests_of(("sql", "math"))
    make_loop(tiny_model(0, num_slots=SLOTS), pool, 3).run(requests)
    assert [request.generated for request in requests] == answers(2)


def test_versions_take_turns_in_the_places() -> None:
    """The new one takes a free place in mid-answer; the one before leaves its own to the next."""
    pool = pool_of()
    loop = make_loop(tiny_model(0, num_slots=SLOTS), pool, 3)
    requests = requests_of((*TOPICS, pool.select("sql+general") or ""))
    for request in requests:
        loop.admit(request)
    found = []
    for version in (2, 3, 9):
        loop.step()
        swap(pool, spec_of("sql", version))
        found.append(place(pool, "sql"))
    assert found == [3, 1, 3]
    counts = requests[1].counts.num_draft_tokens, requests[1].counts.num_accepted_tokens
    loop.run([])
    assert [request.generated for request in requests] == answers(4)
    drafted, accepted = (
        after - before
        for after, before in zip(
            (requests[1].counts.num_draft_tokens, requests[1].counts.num_accepted_tokens), counts, strict=True
        )
    )
    assert drafted == accepted > 0  # the ninth version is the target
    drafter = pool["sql"]
    assert isinstance(drafter, StackedDrafter)
    assert drafter.model.cache.num_free == 2 * SLOTS


def test_a_version_that_is_held_keeps_its_place() -> None:
    """Compared with the new one, it is as it was; without a free place the next version waits in a model of its own."""
    pool = pool_of()
    before = pool.current("sql")
    assert before is not None
    swap(pool, spec_of("sql", 2))
    held = pool.hold(*before)
    swap(pool, spec_of("math", 2))
    assert [place(pool, name) for name in (*TOPICS, held)] == [0, 3, None, 1]
    pool.select("math")
    assert place(pool, "math") == 2  # the one before was not held
    requests = requests_of((*TOPICS, held))
    make_loop(tiny_model(0, num_slots=SLOTS), pool, 3).run(requests)
    alone = requests_of((held,) * 4)
    single = {held: DeviceDrafter(load(spec_of("sql").folder, {}))}
    make_loop(tiny_model(0, num_slots=SLOTS), single, 3).run(alone)
    assert [request.generated for request in requests] == answers(4)
    assert requests[3].counts == alone[3].counts


def test_the_way_back_finds_the_old_version_as_it_was() -> None:
    """Held, given back under its name, let go of under its label; then its successor's place is free again."""
    pool = pool_of()
    before = pool.current("sql")
    assert before is not None
    loop = make_loop(tiny_model(0, num_slots=SLOTS), pool, 3)
    request = requests_of(("sql",))[0]
    loop.admit(request)
    loop.step()
    swap(pool, spec_of("sql", 2))
    held = pool.hold(*before)
    loop.step()
    before[1].clear()
    pool.replace(*before)
    pool.let_go(held)
    assert (place(pool, "sql"), pool.label("sql")) == (1, "sql@v1")
    loop.run([])
    assert request.generated == answers(1)[0]
    swap(pool, spec_of("math", 2))
    assert place(pool, "math") == 3


def test_a_draft_that_found_no_place_gets_one_when_another_leaves() -> None:
    """Two versions are held, so that the second newcomer stays outside until one of them is let go of."""
    pool = pool_of()
    for topic in ("sql", "math"):
        before = pool.current(topic)
        assert before is not None
        swap(pool, spec_of(topic, 2))
        pool.hold(*before)
    assert [place(pool, name) for name in TOPICS] == [0, 3, None]
    pool.let_go("sql@v1")
    assert [place(pool, name) for name in TOPICS] == [0, 3, 1]


def test_unforeseen_and_single_shapes_and_trees_have_models_of_their_own() -> None:
    """Nobody to share with; a tree needs passes of its own."""
    alone = pool_of({"general": OTHER})
    assert [place(alone, name) for name in TOPICS] == [None, 0, 1]
    swap(alone, spec_of("sql", 2), {"sql": replace(CONFIG, intermediate_size=64)})
    assert place(alone, "sql") is None
    trees = pool_of(expansion=Expansion((2, 1)))
    assert [type(trees[name]) for name in TOPICS] == [TreeDrafter] * 3


def test_without_stacks_nothing_changes() -> None:
    """A pool that is given none."""
    loads: Callable[[Path], DeviceModel] = lambda folder: load(folder, {})  # noqa: E731
    pool = DraftPool({topic: spec_of(topic) for topic in TOPICS}, loads)
    pool.preload()
    assert [place(pool, name) for name in TOPICS] == [None] * 3
