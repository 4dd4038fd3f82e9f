"""The step loop says exactly what the target alone would say, with every way of growing and merging trees."""

import itertools
from dataclasses import replace

import pytest

import drafts.tree_drafter
from decoding.lossy import Lenient, Typical
from decoding.proposal import Scheme
from decoding.randomness import SeededRandomness
from decoding.request import SamplingParams
from decoding.step_loop import StepLoop
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.tree_drafter import TreeDrafter
from tests.toys import Scripted, ToyModel, distance, exact_law, make_request

PROMPT = [1, 0, 2]
SHAPES = {
    "without replacement": Expansion((2, 1), Scheme.WITHOUT_REPLACEMENT),
    "independent": Expansion((2, 1), Scheme.INDEPENDENT),
    "wide below": Expansion((1, 2), Scheme.INDEPENDENT),
    "two paths": Expansion((2, 1), Scheme.PATHS),
    "three paths": Expansion((3,), Scheme.PATHS),
}


def tree(vocab_size, seed, expansion):
    return TreeDrafter(ToyModel(vocab_size, seed), expansion)


def drafters_of(vocab_size, shapes=SHAPES):
    """Every new drafter, and the old ones for batch mates."""
    each = {name: tree(vocab_size, 7, expansion) for name, expansion in shapes.items()}
    chains = {"a": ModelDrafter(ToyModel(vocab_size, 7)), "b": ModelDrafter(ToyModel(vocab_size, 8))}
    first = next(iter(shapes.values()))
    trees = {"a": tree(vocab_size, 7, first), "b": tree(vocab_size, 8, first)}
    return {
        **each,
        "model": ModelDrafter(ToyModel(vocab_size, 9)),
        "lookup": PromptLookup(),
        "merged chains": MergedDrafter(chains),
        "merged trees": MergedDrafter(trees),
    }


LARGE = {
    "4, 2, 2": Expansion((4, 2, 2)),
    "independent": Expansion((3, 2, 2), Scheme.INDEPENDENT),
    "paths": Expansion((4, 1, 1, 1), Scheme.PATHS),
    "chain": Expansion((1, 1, 1)),
}


@pytest.mark.parametrize("drafter", [*LARGE, "merged chains", "merged trees"])
def test_greedy_output_is_that_of_the_target_alone(drafter):
    """At temperature 0 trees of any shape, merged or not, leave the tokens unchanged."""
    for seed, (tokens, length) in itertools.product(range(6), ((1, 1), (2, 3), (9, 2), (30, 12))):
        target = ToyModel(6, seed)
        request = make_request(PROMPT, SamplingParams(max_tokens=tokens), drafter=drafter, num_draft_tokens=length)
        StepLoop(target, drafters_of(6, LARGE)).run([request])
        assert request.generated == target.greedy(PROMPT, tokens)


def test_a_batch_with_all_drafters_equals_each_request_alone():
    """Requests with trees, chains and nothing share target runs without touching each other."""
    target = ToyModel(6, 3, num_slots=3)
    drafters = drafters_of(6, LARGE)
    names = [None, *drafters]
    requests = [
        make_request(
            [n % 6, (n * n) % 6, 5][: 1 + n % 3],
            SamplingParams(max_tokens=20),
            request_id=str(n),
            drafter=names[n % len(names)],
            num_draft_tokens=1 + n % 4,
        )
        for n in range(3 * len(names))
    ]
    StepLoop(target, drafters).run(requests)
    assert [r.generated for r in requests] == [target.greedy(r.prompt_token_ids, 20) for r in requests]
    assert target.cache.num_free == 3


SETTINGS = [
    SamplingParams(temperature=1.0, max_tokens=3),
    SamplingParams(temperature=0.7, top_k=2, top_p=0.8, max_tokens=3),
    SamplingParams(temperature=1.5, repetition_penalty=1.5, presence_penalty=0.7, max_tokens=3),
    SamplingParams(temperature=1.5, top_p=0.9, max_tokens=3, stop_token_ids=frozenset({1})),  # in the prompt, too
]


def law_of_loop(target_seed, drafter, params, vocab_size=3, length=2, mate=None, drafters=drafters_of):
    """Exact law of the answers of one request, beside a greedy batch mate if wished."""

    def run(randomness: Scripted) -> tuple[int, ...]:
        request = make_request(PROMPT, params, randomness, drafter=drafter, num_draft_tokens=length)
        mates = [make_request([0], SamplingParams(max_tokens=5), request_id="m", drafter=mate)] if mate else []
        StepLoop(ToyModel(vocab_size, target_seed), drafters(vocab_size)).run([*mates, request])
        return tuple(request.generated)

    return exact_law(run)


@pytest.mark.parametrize("params", SETTINGS, ids=["T1", "T.7-k2-p.8", "penalties", "T1.5-stop"])
@pytest.mark.parametrize("drafter", [*SHAPES, "merged chains", "merged trees"])
def test_the_exact_output_law_is_the_targets(drafter, params):
    """Enumerating every random decision, the law of the loop equals the target's to 1e-10."""
    law = law_of_loop(0, drafter, params, mate=drafter)
    assert distance(law, ToyModel(3, 0).law(PROMPT, params)) < 1e-10


@pytest.mark.parametrize("lossy", [Typical(), Lenient(3.0)])
def test_a_lossy_rule_changes_the_law_of_the_request_that_asks_for_it_alone(lossy):
    """Its own answers are no longer the target's; a batch mate's are."""
    exact = SamplingParams(temperature=1.0, max_tokens=3)
    loose = replace(exact, lossy=lossy)
    assert distance(law_of_loop(0, "independent", loose), ToyModel(3, 0).law(PROMPT, exact)) > 0.01

    def run(randomness: Scripted) -> tuple[int, ...]:
        request = make_request(PROMPT, exact, randomness, drafter="independent", num_draft_tokens=2)
        mate = make_request([0], loose, SeededRandomness(0), request_id="m", drafter="independent", num_draft_tokens=2)
        StepLoop(ToyModel(3, 0), drafters_of(3)).run([mate, request])
        return tuple(request.generated)

    assert distance(exact_law(run), ToyModel(3, 0).law(PROMPT, exact)) < 1e-10


@pytest.mark.parametrize("drafter", ["4, 2, 2", "independent", "paths"])
def test_a_tree_near_the_end_of_the_cache_is_cut_before_it_is_drawn(drafter):
    """Where the whole tree has no room its depth shrinks, and the answer still fills the cache to the end."""
    for temperature, max_length in itertools.product((0.0, 1.0), (8, 12, 24)):
        target = ToyModel(6, 1, max_length=max_length)
        params = SamplingParams(temperature=temperature, max_tokens=max_length - len(PROMPT))
        request = make_request(PROMPT, params, drafter=drafter, num_draft_tokens=4)
        StepLoop(target, drafters_of(6, LARGE)).run([request])
        assert len(request.token_ids) == max_length


def test_sorted_children_break_the_law(monkeypatch):
    """Negative control: children drawn without replacement and then sorted shift the law visibly."""
    drawn = drafts.tree_drafter.draw_rows
    monkeypatch.setattr(drafts.tree_drafter, "draw_rows", lambda *args: [sorted(row) for row in drawn(*args)])
    law = law_of_loop(0, "without replacement", SETTINGS[0])
    assert distance(law, ToyModel(3, 0).law(PROMPT, SETTINGS[0])) > 1e-3


@pytest.mark.parametrize("shape", LARGE)
def test_after_every_step_the_drafts_cache_holds_a_prefix_of_the_text(shape):
    """Accepted path kept, the rest dropped, in the order of the text; at most leaf and bonus are missing."""
    for seed, draft_seed in itertools.product(range(3), (7, 70)):
        target = ToyModel(5, 7)
        drafter = TreeDrafter(ToyModel(5, draft_seed), LARGE[shape])
        params = SamplingParams(temperature=seed / 2, max_tokens=30)
        request = make_request(PROMPT, params, SeededRandomness(seed), drafter="d", num_draft_tokens=4)
        loop = StepLoop(target, {"d": drafter})
        loop.admit(request)
        loop.step()
        while (output := loop.step()) and output[0].finish_reason is None and request.num_remaining > 1:
            (slot,) = drafter._slots.values()
            length = drafter.model.cache.lengths[slot]
            assert drafter.model.cache.keys[0, slot, 0, :length, 0].tolist() == request.token_ids[:length]
            assert length >= len(request.token_ids) - 2
