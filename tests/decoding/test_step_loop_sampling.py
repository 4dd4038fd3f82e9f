"""The step loop keeps the target's law under every processor: penalties, bias, min-p and the cuts, with drafts."""

import itertools

import pytest

import decoding.step_loop
import drafts.model_drafter
from decoding.processors import Block
from decoding.randomness import SeededRandomness
from decoding.request import SamplingParams
from tests.loops import loop_with
from tests.toys import Scripted, ToyModel, distance, exact_law, make_request

PROMPT = [1]  # one pending token, so that the first step has a whole proposal
DRAFTERS = [None, "model", "twin", "lookup", "tree"]
SETTINGS = {
    "repetition": {"repetition_penalty": 1.8},
    "presence": {"presence_penalty": 1.5},
    "frequency": {"frequency_penalty": 1.2},
    "reward": {"repetition_penalty": 0.6, "presence_penalty": -0.7, "frequency_penalty": -0.9},
    "min-p": {"min_p": 0.25},
    "bias": {"logit_bias": ((0, 2.0), (2, -100.0))},
    "all": {
        "repetition_penalty": 1.3,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.6,
        "logit_bias": ((1, 1.5),),
        "min_p": 0.05,
        "top_k": 3,
        "top_p": 0.9,
        "temperature": 0.8,
        "stop_token_ids": frozenset({3}),
    },
}


def sampled(name, max_tokens=3):
    return SamplingParams(**{"temperature": 1.0, "max_tokens": max_tokens, **SETTINGS[name]})


def law_of_loop(seed, drafter, params, vocab_size=4, length=2, prompt=PROMPT):
    """Exact law of the answers of one request, beside a sampled and a greedy batch mate with penalties."""
    mates = [
        SamplingParams(max_tokens=4, presence_penalty=1.0, frequency_penalty=2.0),
        SamplingParams(max_tokens=4, temperature=0.7, repetition_penalty=1.5, min_p=0.1, seed=3),
    ]

    def run(randomness: Scripted) -> tuple[int, ...]:
        request = make_request(prompt, params, randomness, drafter=drafter, num_draft_tokens=length)
        others = [
            make_request([0], mate, SeededRandomness(0), request_id=str(n), drafter="twin")
            for n, mate in enumerate(mates)
        ]
        loop_with(ToyModel(vocab_size, seed), vocab_size).run([*others, request])
        return tuple(request.generated)

    return exact_law(run)


def error(seed, drafter, params, vocab_size=4, **options):
    law = ToyModel(vocab_size, seed).law(options.get("prompt", PROMPT), params)
    return distance(law_of_loop(seed, drafter, params, vocab_size, **options), law)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_the_exact_output_law_is_the_targets(drafter, name):
    """Enumerating every random decision, drafted or not, the law equals the plainly written one to 1e-10."""
    assert error(1, drafter, sampled(name)) < 1e-10


@pytest.mark.parametrize("name", ["repetition", "frequency", "all"])
def test_longer_chains_keep_the_law(name):
    """Three drafted tokens, each of which the next must have seen."""
    vocab_size = 3 if name == "all" else 2
    for prompt in (PROMPT, [0, 1, 0]):
        assert error(2, "model", sampled(name, 4), vocab_size=vocab_size, length=3, prompt=prompt) < 1e-10


@pytest.mark.parametrize("name", ["frequency", "all"])
def test_trees_that_a_draft_draws_keep_the_law(name):
    """Each node's law has seen the path to it, in the draft's tree as in the target's."""
    assert error(3, "drawn tree", sampled(name), vocab_size=3) < 1e-10


def test_a_drawn_tree_that_forgets_its_path_is_caught(monkeypatch):
    """Negative control for the test above."""
    monkeypatch.setattr(Block, "path", lambda block, row: iter(()))
    assert error(3, "drawn tree", sampled("frequency"), vocab_size=3) > 1e-3


@pytest.mark.parametrize("name", ["repetition", "presence", "frequency"])
def test_a_penalty_that_ignores_the_drafted_tokens_is_caught(monkeypatch, name):
    """Negative control: with committed tokens alone in sight the law shifts visibly, in chains and in trees."""
    monkeypatch.setattr(Block, "path", lambda block, row: iter(()))
    for drafter in ("model", "tree"):
        assert error(1, drafter, sampled(name)) > 1e-3
    assert error(1, None, sampled(name)) < 1e-10  # where nothing is drafted there is nothing to forget


def test_a_penalty_of_a_tree_that_looks_at_the_wrong_path_is_caught(monkeypatch):
    """Negative control: seeing all nodes before it instead of its ancestors."""
    monkeypatch.setattr(Block, "path", lambda block, row: iter(block.token_ids[: block.nodes[row] + 1]))
    assert error(1, "tree", sampled("presence")) > 1e-3
    assert error(1, "model", sampled("presence")) < 1e-10  # in a chain they are the same


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_greedy_requests_take_the_argmax_of_the_processed_logits(drafter, name):
    """Whatever is drafted, and however long."""
    changed = 0
    for seed, length in itertools.product(range(6), (1, 3, 7)):
        settings = {**SETTINGS[name], "temperature": 0.0, "max_tokens": 25, "stop_token_ids": frozenset()}
        params, target = SamplingParams(**settings), ToyModel(6, seed)
        request = make_request([1, 0, 2], params, drafter=drafter, num_draft_tokens=length)
        loop_with(target, 6).run([request])
        assert request.generated == target.greedy([1, 0, 2], 25, params)
        changed += request.generated != target.greedy([1, 0, 2], 25)
    assert changed or name == "min-p"  # which never changes the argmax


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_draft_is_processed_as_the_target_is(name, temperature):
    """With draft = target every token is accepted; a draft whose penalties lagged behind would lose some."""
    settings = {**SETTINGS[name], "temperature": temperature, "max_tokens": 26, "stop_token_ids": frozenset()}
    request = make_request(PROMPT, SamplingParams(**settings), SeededRandomness(5), drafter="twin", num_draft_tokens=4)
    loop_with(ToyModel(5, 4), 5).run([request])
    assert request.counts.num_accepted_tokens == request.counts.num_draft_tokens > 0


def test_a_draft_that_is_not_processed_is_refused_more_often_but_changes_nothing(monkeypatch):
    """The rule looks at what the draft did, so only speed is lost."""
    unseeing = lambda request, chain: Block(request)  # noqa: E731
    monkeypatch.setattr(drafts.model_drafter.Block, "last", unseeing)
    assert error(1, "twin", sampled("frequency")) < 1e-10
    settings = SamplingParams(temperature=1.0, max_tokens=26, frequency_penalty=1.5)
    request = make_request(PROMPT, settings, SeededRandomness(5), drafter="twin", num_draft_tokens=4)
    loop_with(ToyModel(5, 4), 5).run([request])
    assert request.counts.num_accepted_tokens < request.counts.num_draft_tokens


def test_a_seeded_answer_does_not_depend_on_its_batch():
    """Alone or beside others with other settings, the same tokens: every row has its own law and its own source."""
    names = [name for name in SETTINGS for _ in range(2)]

    def requests():
        return [
            make_request(
                [n % 6, 1],
                SamplingParams(**{"temperature": 0.9, **SETTINGS[name], "stop_token_ids": frozenset()}, max_tokens=20),
                SeededRandomness(n),
                request_id=str(n),
                drafter=DRAFTERS[:4][n % 4],
                num_draft_tokens=3,
            )
            for n, name in enumerate(names)
        ]

    together, alone = requests(), requests()
    loop_with(ToyModel(6, 3, num_slots=5), 6).run(together)
    for request in alone:
        loop_with(ToyModel(6, 3), 6).run([request])
    assert [request.generated for request in together] == [request.generated for request in alone]


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logprobs_are_the_targets_own_with_and_without_speculation(drafter, temperature):
    """Each emitted token's raw log-probability at its place in the text, and the most probable tokens there."""
    params = SamplingParams(
        temperature=temperature, max_tokens=20, num_logprobs=2, frequency_penalty=1.0, logit_bias=((3, 1.0),)
    )
    target = ToyModel(5, 8)
    request = make_request([1, 2], params, SeededRandomness(1), drafter=drafter, num_draft_tokens=3)
    silent = make_request([1, 2], SamplingParams(max_tokens=20), request_id="s", drafter="model", num_draft_tokens=2)
    loop = loop_with(target, 5)
    loop.admit(silent)
    loop.admit(request)
    told = []
    while outputs := loop.step():
        assert not any(output.logprobs for output in outputs if output.request is silent)
        told += [entry for output in outputs if output.request is request for entry in output.logprobs]
    assert len(told) == len(request.generated) == 20
    for place, (token_id, entry) in enumerate(zip(request.generated, told, strict=True)):
        expected = target.logits([1, 2, *request.generated[:place]]).log_softmax(-1)
        best = expected.topk(2)
        assert entry.logprob == expected[token_id].item()
        assert list(entry.top) == list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def test_logprobs_stop_with_the_answer():
    """Nothing is reported about tokens accepted behind a stop token."""
    target = ToyModel(5, 0)
    stop = target.greedy(PROMPT, 40)[7]
    params = SamplingParams(max_tokens=40, stop_token_ids=frozenset({stop}), num_logprobs=0)
    request = make_request(PROMPT, params, drafter="twin", num_draft_tokens=6)
    loop = loop_with(target, 5)
    loop.admit(request)
    outputs = [output for _ in range(40) for output in loop.step()]
    assert [len(output.logprobs) for output in outputs] == [len(output.token_ids) for output in outputs]
    assert not any(entry.top for output in outputs for entry in output.logprobs)


def test_a_plain_greedy_batch_costs_one_argmax(monkeypatch):
    """No copy of the logits, no softmax, no log-softmax: other requests' features are free for it."""
    calls = []

    def forbidden(*_):
        raise AssertionError("a plain greedy step did more than take the most probable tokens")

    class Counting(ToyModel):
        def argmax(self, logits):
            calls.append(len(logits))
            return super().argmax(logits)

    for name in ("laws", "verify_all", "add_logprobs", "_emissions"):
        monkeypatch.setattr(decoding.step_loop, name, forbidden)
    request = make_request(PROMPT, SamplingParams(max_tokens=9), drafter="model")
    loop = loop_with(Counting(5, 0), 5)
    loop.run([request])
    assert len(calls) == loop.times.num_steps


def test_a_bias_on_what_is_no_token_is_refused_before_it_starts():
    """In the step it would fail everyone's."""
    request = make_request(PROMPT, SamplingParams(max_tokens=9, logit_bias=((5, 1.0),)))
    with pytest.raises(ValueError, match="token 5; there are 5"):
        loop_with(ToyModel(5, 0), 5).admit(request)
