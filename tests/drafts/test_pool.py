"""The pool loads drafts on demand, keeps to its budget and falls back to the general draft."""

from pathlib import Path

import pytest

from configs.errors import CheckpointError
from decoding.request import SamplingParams
from decoding.step_loop import StepLoop
from drafts.expansion import Expansion
from drafts.model_drafter import ModelDrafter
from drafts.pool import DraftPool, DraftSpec
from tests.toys import ToyModel, make_request

SPECS = {name: DraftSpec(name, f"{name}@v1", Path(name)) for name in ("general", "sql", "math", "chat")}
ONE = 1000 + ToyModel(5, 0).cache.num_bytes


def pool_of(budget, specs=SPECS, **options):
    loads = []

    def load(folder):
        loads.append(folder.name)
        return ToyModel(5, 1)

    return DraftPool(specs, load, memory_bytes=budget, **options), loads


def test_the_general_draft_is_there_from_the_start_and_others_on_first_use():
    """Only the general draft is loaded at start; a topic's draft when it is selected, once."""
    pool, loads = pool_of(10 * ONE)
    assert loads == ["general"]
    assert pool.select("sql") == pool.select("sql") == "sql"
    assert loads == ["general", "sql"]
    assert set(pool) == {"general", "sql", "lookup"}
    assert pool.names == ["general", "sql", "math", "chat", "lookup"]


def test_the_least_recently_used_draft_leaves_and_the_general_one_never_does():
    """Beyond the budget the draft that was selected longest ago is dropped."""
    pool, loads = pool_of(3 * ONE)
    for name in ("sql", "math", "sql", "chat"):
        pool.select(name)
    assert set(pool) == {"general", "sql", "chat", "lookup"}
    assert pool.used_bytes <= 3 * ONE
    assert loads == ["general", "sql", "math", "chat"]


def test_drafts_are_loaded_ahead_as_far_as_the_budget_reaches():
    """In the order of their names; what is there needs no step to wait for it, and the rest comes on first use."""
    pool, loads = pool_of(3 * ONE)
    pool.preload()
    assert set(pool) == {"general", "sql", "math", "lookup"}
    assert pool.used_bytes <= 3 * ONE
    pool.select("sql")
    assert loads == ["general", "sql", "math", "chat"]  # the last one did not fit
    pool.select("chat")
    assert set(pool) == {"general", "sql", "chat", "lookup"}


def test_a_draft_in_use_stays_whatever_the_budget():
    """A running request never loses its draft."""
    pool, _ = pool_of(2 * ONE)
    loop = StepLoop(ToyModel(5, 0), pool)
    loop.admit(make_request([1, 2], SamplingParams(max_tokens=20), drafter=pool.select("sql")))
    loop.step()
    loop.step()
    pool.select("math")
    assert set(pool) == {"general", "sql", "math", "lookup"}
    loop.cancel("r")
    pool.select("chat")
    assert set(pool) == {"general", "chat", "lookup"}


def test_a_topic_without_a_draft_falls_back():
    """No draft of its own: the general one, else prompt lookup, else nobody."""
    assert pool_of(9 * ONE)[0].select("cooking") == "general"
    only_sql = {"sql": SPECS["sql"]}
    assert pool_of(9 * ONE, only_sql)[0].select("cooking") == "lookup"
    assert pool_of(9 * ONE, only_sql, prompt_lookup=False)[0].select("cooking") is None


def test_labels_carry_the_version():
    """Replies say which version proposed."""
    pool, _ = pool_of(9 * ONE)
    assert [pool.label(name) for name in ("sql", "lookup", None)] == ["sql@v1", "lookup", "none"]


def test_a_joined_name_merges_the_drafts_behind_it():
    """Both are loaded, propose for one request, stay while it runs, and give their slots back."""
    pool, loads = pool_of(3 * ONE)
    target = ToyModel(5, 0)
    loop = StepLoop(target, pool, num_draft_tokens=2)
    request = make_request([1, 2], SamplingParams(max_tokens=9), drafter=pool.select("sql+math"))
    assert request.drafter == "sql+math"
    assert pool.label("sql+math") == "sql@v1+math@v1"
    assert loads == ["general", "sql", "math"]
    loop.admit(request)
    loop.step()
    loop.step()
    pool.select("chat")
    assert {"sql", "math", "sql+math"} <= set(pool)
    loop.run([])
    assert request.generated == target.greedy([1, 2], 9)
    assert request.counts.num_drafts > 0
    assert [pool[name].model.cache.num_free for name in ("sql", "math")] == [4, 4]
    pool.select("general")
    assert not {"sql", "sql+math"} & set(pool)
    assert len(pool) == len(list(pool))


def test_a_joined_name_with_an_unknown_part_falls_back():
    """As an unknown topic does."""
    assert pool_of(9 * ONE)[0].select("sql+cooking") == "general"


def test_a_deployment_with_a_tree_grows_it_with_every_draft():
    """The pool hands the shape to each draft that it loads."""
    pool, _ = pool_of(9 * ONE, expansion=Expansion((3, 2)))
    proposal = pool["general"].propose([make_request([1, 2], SamplingParams(max_tokens=9))], [2])[0]
    assert proposal.parents == [-1, -1, -1, 0, 0, 1, 1, 2, 2]
    assert pool["lookup"].num_nodes(2) == 2


def test_a_new_version_takes_over_in_mid_answer_and_the_answer_stays():
    """Running requests go on under the new weights, alone or merged, and say what the target says."""
    pool, _ = pool_of(10 * ONE)
    target = ToyModel(5, 0)
    loop = StepLoop(target, pool)
    names = ["sql", "sql+general", "sql"]
    requests = [
        make_request([1, 2], SamplingParams(max_tokens=24), request_id=str(i), drafter=pool.select(name))
        for i, name in enumerate(names)
    ]
    for request in requests:
        loop.admit(request)
    for version in range(2, 6):
        loop.step()
        spec = DraftSpec("sql", f"sql@v{version}", Path("sql"))
        pool.replace(spec, ModelDrafter(ToyModel(5, version)))
        assert pool.label("sql+general") == f"sql@v{version}+general@v1"
    loop.run([])
    plain = make_request([1, 2], SamplingParams(max_tokens=24), request_id="plain")
    StepLoop(ToyModel(5, 0), {}).run([plain])
    assert [request.generated for request in requests] == [plain.generated] * 3
    assert all(request.counts.num_drafts > 4 for request in requests)
    assert pool["sql"].num_requests == 0
    assert target.cache.num_free == len(target.cache.lengths)


def test_a_new_version_of_a_draft_that_nobody_uses_is_loaded_when_somebody_does():
    pool, loads = pool_of(10 * ONE)
    pool.replace(DraftSpec("sql", "sql@v2", Path("new")), ModelDrafter(ToyModel(5, 2)))
    assert "sql" not in pool
    pool.select("sql")
    assert loads == ["general", "new"]


def test_every_load_beside_the_one_that_serves_gives_back_what_it_took_meanwhile(monkeypatch):
    """One that fails, too; else what malloc keeps would grow with every version that comes."""
    given_back = []
    monkeypatch.setattr("drafts.pool.give_back", lambda: given_back.append("now"))
    pool, _ = pool_of(10 * ONE)
    assert not given_back
    pool.loaded(SPECS["sql"])
    assert len(given_back) == 1

    def fail(_folder):
        raise CheckpointError("it is damaged")

    broken = DraftPool({"sql": SPECS["sql"]}, fail)
    with pytest.raises(CheckpointError):
        broken.loaded(SPECS["sql"])
    assert len(given_back) == 2
