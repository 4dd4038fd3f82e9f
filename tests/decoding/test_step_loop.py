"""The step loop says exactly what the target alone would say."""

import itertools

import pytest

import decoding.step_loop
import decoding.verification.recursive
from decoding.request import FinishReason, Origin, SamplingParams
from decoding.step_loop import StepLoop
from drafts.model_drafter import ModelDrafter
from tests.loops import loop_with
from tests.toys import Scripted, ToyModel, distance, exact_law, make_request

PROMPT = [1, 0, 2]


@pytest.mark.parametrize("drafter", [None, "model", "twin", "lookup", "tree"])
@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_greedy_output_is_that_of_the_target_alone(drafter, length):
    """At temperature 0 every drafter and length leaves the tokens unchanged."""
    for seed, tokens in itertools.product(range(8), (1, 2, 9, 30)):
        target = ToyModel(5, seed)
        request = make_request(PROMPT, SamplingParams(max_tokens=tokens), drafter=drafter, num_draft_tokens=length)
        loop_with(target, 5).run([request])
        assert request.generated == target.greedy(PROMPT, tokens)


def test_a_batch_with_all_drafters_equals_each_request_alone():
    """Requests of different drafters share target runs without touching each other."""
    target = ToyModel(6, 3, num_slots=3)
    prompts = [[n % 6, (n * n) % 6, 5][: 1 + n % 3] for n in range(12)]
    names = [None, "model", "twin", "lookup", "tree"]
    requests = [
        make_request(prompt, SamplingParams(max_tokens=20), request_id=str(n), drafter=names[n % 5], num_draft_tokens=4)
        for n, prompt in enumerate(prompts)
    ]
    loop_with(target, 6).run(requests)
    assert [request.generated for request in requests] == [target.greedy(prompt, 20) for prompt in prompts]


def test_long_prompts_are_fed_in_chunks_beside_running_requests():
    """A prompt longer than the row limit changes neither its own answer nor a neighbour's."""
    target = ToyModel(5, 1)
    loop = loop_with(target, 5, max_rows=4)
    neighbour = make_request(PROMPT, SamplingParams(max_tokens=20), request_id="a", drafter="model")
    loop.admit(neighbour)
    loop.step()
    late = make_request([n % 5 for n in range(23)], SamplingParams(max_tokens=8), request_id="b", drafter="model")
    loop.run([late])
    assert neighbour.generated == target.greedy(PROMPT, 20)
    assert late.generated == target.greedy(late.prompt_token_ids, 8)


def test_a_drafter_may_change_at_any_step():
    """Switching drafters mid-answer leaves the text unchanged and gives every slot back."""
    target = ToyModel(5, 2)
    loop = loop_with(target, 5)
    request = make_request(PROMPT, SamplingParams(max_tokens=40), num_draft_tokens=3)
    loop.admit(request)
    for name in itertools.cycle(["model", None, "twin", "tree", "lookup"]):
        if not loop.step():
            break
        loop.assign("r", name)
    assert request.generated == target.greedy(PROMPT, 40)
    for name in ("model", "twin"):
        assert loop.drafters[name].model.cache.num_free == 4
    assert target.cache.num_free == 4


def test_the_companion_keeps_what_it_knows_of_a_request_until_the_end(monkeypatch):
    """Swaps release the drafter that leaves; the companion is released once, at the end, even as the drafter itself."""
    target, released = ToyModel(5, 2), []
    loop = loop_with(target, 5, companion="lookup")
    for name in ("model", "lookup"):
        monkeypatch.setattr(loop.drafters[name], "release", lambda _, name=name: released.append(name))
    request = make_request(PROMPT, SamplingParams(max_tokens=9), drafter="lookup", num_draft_tokens=1)
    loop.admit(request)
    for name in ("model", "lookup"):
        loop.step()
        loop.assign("r", name)
    assert released == ["model"]
    loop.run([])
    assert released == ["model", "lookup"]


SETTINGS = [
    SamplingParams(temperature=1.0, max_tokens=3),
    SamplingParams(temperature=0.7, top_k=3, top_p=0.8, max_tokens=3),
    SamplingParams(temperature=1.5, top_p=0.9, max_tokens=3, stop_token_ids=frozenset({1})),
]


def law_of_loop(target_seed, drafter, params, vocab_size, length, mate=False):
    """Exact law of the answers of one request, beside a greedy batch mate if wished."""

    def run(randomness: Scripted) -> tuple[int, ...]:
        target = ToyModel(vocab_size, target_seed)
        request = make_request(PROMPT, params, randomness, drafter=drafter, num_draft_tokens=length)
        others = [make_request([0], SamplingParams(max_tokens=5), request_id="m", drafter="twin")] if mate else []
        loop_with(target, vocab_size).run([*others, request])
        return tuple(request.generated)

    return exact_law(run)


@pytest.mark.parametrize("params", SETTINGS, ids=["T1", "T.7-k3-p.8", "T1.5-stop"])
@pytest.mark.parametrize("drafter", [None, "model", "twin", "lookup", "tree"])
def test_the_exact_output_law_is_the_targets(drafter, params):
    """Enumerating every random decision, the law of the loop equals the target's to 1e-10."""
    for seed, length in itertools.product(range(2), (1, 2)):
        law = law_of_loop(seed, drafter, params, vocab_size=4, length=length, mate=length == 2)
        assert distance(law, ToyModel(4, seed).law(PROMPT, params)) < 1e-10


def test_longer_answers_and_chains_keep_the_law():
    """A chain of three inside an answer of four tokens is exact too."""
    params = SamplingParams(temperature=1.0, max_tokens=4)
    law = law_of_loop(5, "model", params, vocab_size=3, length=3)
    assert distance(law, ToyModel(3, 5).law(PROMPT, params)) < 1e-10


def test_a_broken_rule_is_caught(monkeypatch):
    """Negative control: drawing the recovered token from the target itself shifts the law visibly."""
    broken = decoding.verification.recursive
    monkeypatch.setattr(broken, "recovered_weights", lambda target_probs, draft_probs: target_probs)
    law = law_of_loop(0, "model", SETTINGS[0], vocab_size=4, length=2)
    assert distance(law, ToyModel(4, 0).law(PROMPT, SETTINGS[0])) > 1e-3


def test_a_draft_equal_to_the_target_is_always_accepted():
    """With draft = target every token is accepted, sampled or greedy: k + 1 tokens a run."""
    for temperature in (0.0, 1.0):
        target = ToyModel(5, 4)
        params = SamplingParams(temperature=temperature, max_tokens=21)
        request = make_request(PROMPT, params, drafter="twin", num_draft_tokens=4)
        loop_with(target, 5).run([request])
        counts = request.counts
        assert counts.num_accepted_tokens == counts.num_draft_tokens
        assert counts.num_target_runs == 5  # the prompt's run gives one token, four more give five each
        assert counts.num_accepted_tokens_per_pos == [4, 4, 4, 4]


def test_counts_add_up_and_origins_name_the_writer():
    """Generated tokens = accepted + one a run; every token has an origin."""
    target = ToyModel(5, 6)
    request = make_request(PROMPT, SamplingParams(max_tokens=30), drafter="model", num_draft_tokens=3)
    loop = loop_with(target, 5)
    loop.admit(request)
    outputs = []
    while step := loop.step():
        outputs.extend(step)
    origins = [origin for output in outputs for origin in output.origins]
    counts = request.counts
    assert sum(len(output.token_ids) for output in outputs) == counts.num_generated_tokens == 30 == len(origins)
    assert counts.num_generated_tokens == counts.num_accepted_tokens + counts.num_target_runs
    assert origins.count(Origin.DRAFT) == counts.num_accepted_tokens == sum(counts.num_accepted_tokens_per_pos)
    assert origins[0] == Origin.PLAIN
    assert outputs[-1].finish_reason == FinishReason.LENGTH


def test_a_stop_token_inside_an_accepted_proposal_ends_the_answer_there():
    """Tokens proposed and accepted behind a stop token are not emitted."""
    target = ToyModel(5, 0)
    plain = target.greedy(PROMPT, 40)
    stop = plain[7]
    params = SamplingParams(max_tokens=40, stop_token_ids=frozenset({stop}))
    request = make_request(PROMPT, params, drafter="twin", num_draft_tokens=6)
    loop_with(target, 5).run([request])
    assert request.generated == plain[: plain.index(stop) + 1]


def test_cancelling_frees_the_slots_at_once():
    """A cancelled request leaves no slot behind, running or waiting."""
    target = ToyModel(5, 0, num_slots=1)
    loop = loop_with(target, 5)
    for name in ("a", "b"):
        loop.admit(make_request(PROMPT, SamplingParams(max_tokens=30), request_id=name, drafter="model"))
    loop.step()
    loop.step()
    assert (loop.num_running, loop.num_waiting) == (1, 1)
    assert loop.cancel("b")
    assert loop.cancel("a")
    assert not loop.cancel("a")
    assert (loop.num_running, loop.num_waiting) == (0, 0)
    assert target.cache.num_free == 1
    assert loop.drafters["model"].model.cache.num_free == 4


def test_a_request_that_cannot_fit_is_refused_before_it_starts():
    """Prompt plus answer beyond the cache's length, or an empty prompt, is an error with the figures in it."""
    loop = loop_with(ToyModel(5, 0, max_length=16), 5)
    with pytest.raises(ValueError, match="may need 23 tokens; this deployment holds 16"):
        loop.admit(make_request(PROMPT, SamplingParams(max_tokens=20)))
    with pytest.raises(ValueError, match="empty"):
        loop.admit(make_request([], SamplingParams(max_tokens=2)))


@pytest.mark.parametrize("first", range(4, 9))
def test_a_prompt_of_which_one_row_fits_is_not_drafted_for_yet(first: int) -> None:
    """Prompts that share a step's rows in every way, down to a single row for the second: answers stay the target's."""
    target = ToyModel(5, 0)
    loop = StepLoop(target, {"model": ModelDrafter(ToyModel(5, 1))}, 3, max_rows=8)
    prompts = [[number % 5 for number in range(first)], [3, 1, 4, 1, 0, 2], [2, 2]]
    requests = [
        make_request(prompt, SamplingParams(max_tokens=9), request_id=str(number), drafter="model")
        for number, prompt in enumerate(prompts)
    ]
    loop.run(requests)
    assert [request.generated for request in requests] == [ToyModel(5, 0).greedy(prompt, 9) for prompt in prompts]
