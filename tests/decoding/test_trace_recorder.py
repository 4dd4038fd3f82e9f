"""A trace says what the target says, whoever drafted and whoever was decoded beside it."""

import pytest
import torch

import decoding.trace_recorder
from decoding.load import load_model
from decoding.lossy import Typical
from decoding.randomness import SeededRandomness
from decoding.request import FinishReason, Origin, Request, SamplingParams
from decoding.step_loop import StepLoop
from decoding.trace import SpeculationTrace
from decoding.trace_recorder import TraceRecorder
from drafts.model_drafter import ModelDrafter
from tests.decoding.conftest import Checkpoint
from tests.loops import loop_with
from tests.reference_law import reference_law
from tests.toys import ToyModel, make_request

PROMPT = [1, 0, 2]
DRAFTERS = [None, "model", "twin", "lookup", "tree"]
SAMPLED = SamplingParams(temperature=0.8, top_k=4, min_p=0.02, frequency_penalty=0.3, max_tokens=25, seed=5)


def traced(
    params: SamplingParams, drafter: str | None, length: int = 4, others: int = 0, top: int = 3
) -> SpeculationTrace:
    """The trace of one request on a toy, among ``others`` that are sampled and traced, too."""
    traces: dict[str, SpeculationTrace] = {}
    recorder = TraceRecorder("target", lambda trace: traces.setdefault(str(trace.prompt_length), trace), top)
    loop = loop_with(ToyModel(6, 3, num_slots=4), 6, recorder=recorder)
    options = {"num_draft_tokens": length, "is_traced": True}
    request = make_request(PROMPT, params, drafter=drafter, randomness=SeededRandomness(params.seed), **options)
    mates = [
        make_request([4] * (4 + n), SAMPLED, request_id=f"mate {n}", drafter=DRAFTERS[n], **options)
        for n in range(others)
    ]
    loop.run([*mates, request])
    return traces[str(len(PROMPT))]


def same_figures(first: SpeculationTrace, second: SpeculationTrace) -> bool:
    names = ("probs", "drawn_probs", "top_ids", "top_probs")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("length", [1, 3, 12])
@pytest.mark.parametrize("others", [0, 3])
def test_a_greedy_trace_is_the_same_with_every_draft_length_and_company(drafter, length, others):
    """Bit for bit; only who wrote the tokens and in which runs differs."""
    params = SamplingParams(max_tokens=25)
    plain, other = traced(params, None), traced(params, drafter, length, others)
    assert other.token_ids == plain.token_ids
    assert same_figures(plain, other)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_how_many_rows_are_read_at_once_changes_nothing(rows, monkeypatch):
    """They are held over many steps, and those of a request that was given up are of no use to others."""
    expected = traced(SAMPLED, "model", others=3)
    monkeypatch.setattr(decoding.trace_recorder, "_MOST_ROWS", rows)
    assert same_figures(expected, traced(SAMPLED, "model", others=3))


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_sampled_trace_says_what_a_fresh_look_at_its_text_says(drafter):
    """Raw and drawn probabilities of every token, also of those outside the top, and the top itself."""
    trace = traced(SAMPLED, drafter)
    toy, answer, outside = ToyModel(6, 3), trace.answer_ids, 0
    for place, token_id in enumerate(answer):
        logits = toy.logits([*PROMPT, *answer[:place]])
        raw = logits.softmax(-1)
        law = reference_law(logits.tolist(), PROMPT, answer[:place], SAMPLED)
        assert trace.probs[place] == raw[token_id].float()
        assert trace.drawn_probs[place].item() == pytest.approx(law[token_id], rel=1e-6)
        best = raw.topk(3)
        assert torch.equal(trace.top_ids[place], best.indices.int())
        assert torch.equal(trace.top_probs[place], best.values.half())
        outside += token_id not in trace.top_ids[place].tolist()
    assert outside > 0
    assert (trace.drawn_probs > 0).all()


def test_a_trace_of_a_real_model_equals_a_teacher_forced_run(checkpoint: Checkpoint):
    """Drafts right and wrong beside none; the figures are those of one forward over prompt and answer."""
    folder = checkpoint("llama")
    prompt, found = [5, 9, 17, 3], []
    for drafter in (None, "right", "wrong"):
        target = load_model(folder, num_slots=2, max_length=64)
        drafts = {"right": load_model(folder, 2, 64), "wrong": load_model(checkpoint("qwen3"), 2, 64)}
        drafters = {name: ModelDrafter(model) for name, model in drafts.items()}
        loop = StepLoop(target, drafters, recorder=TraceRecorder("t", found.append, top=8))
        params = SamplingParams(max_tokens=30)
        loop.run([Request("r", prompt, params, SeededRandomness(0), drafter, 4, is_traced=True)])
    plain, right, wrong = found
    assert same_figures(plain, right)
    assert same_figures(plain, wrong)
    assert len(right.run_lengths) < len(plain.run_lengths) == 30
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([plain.token_ids])).logits[0]
    probs = logits.softmax(-1)[len(prompt) - 1 : -1]
    forced = probs.gather(-1, torch.tensor(plain.answer_ids)[:, None])[:, 0]
    assert torch.allclose(plain.probs, forced, rtol=1e-4, atol=1e-6)
    assert torch.allclose(plain.top_probs.float(), probs.topk(8).values, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_trace_has_as_many_entries_as_tokens_wherever_the_answer_ends(drafter):
    """At a stop token inside an accepted proposal, or at the last token allowed."""
    plain = ToyModel(6, 3).greedy(PROMPT, 25)
    stop = frozenset({plain[6]})
    cut = [SamplingParams(max_tokens=count) for count in (1, 2, 7)]
    for params in [*cut, SamplingParams(max_tokens=25, stop_token_ids=stop)]:
        trace = traced(params, drafter, length=12)
        ended = bool(set(trace.answer_ids) & params.stop_token_ids)
        assert trace.finish_reason is (FinishReason.STOP if ended else FinishReason.LENGTH)
        count = len(trace.answer_ids)
        assert count == (plain.index(plain[6]) + 1 if params.stop_token_ids else params.max_tokens)
        assert trace.token_ids == PROMPT + plain[:count]
        assert len(trace.origins) == len(trace.probs) == len(trace.drawn_probs) == sum(trace.run_lengths) == count
        assert trace.top_ids.shape == trace.top_probs.shape == (count, 3)
        assert torch.equal(trace.drawn_probs, torch.ones(count))


def test_run_lengths_and_origins_are_those_of_the_runs():
    """A twin's proposals of four give runs of five after the prompt's."""
    trace = traced(SamplingParams(max_tokens=13), "twin")
    assert trace.run_lengths == [1, 5, 5, 2]
    assert trace.origins[:7] == [Origin.PLAIN, *[Origin.DRAFT] * 4, Origin.BONUS, Origin.DRAFT]


def test_only_requests_that_are_to_be_traced_leave_a_trace():
    """And a cancelled one leaves none."""
    found: list[SpeculationTrace] = []
    recorder = TraceRecorder("target", found.append)
    loop = loop_with(ToyModel(6, 3), 6, recorder=recorder)
    params = SamplingParams(max_tokens=9)
    loop.run([make_request(PROMPT, params, drafter="model")])
    loop.admit(make_request(PROMPT, params, request_id="gone", is_traced=True))
    loop.step()
    loop.step()
    loop.cancel("gone")
    assert not recorder._unfinished
    assert not found
    loop.run([make_request([2], params, request_id="gone", is_traced=True, topic="sql")])
    assert [(trace.prompt_length, len(trace.probs), trace.topic) for trace in found] == [(1, 9, "sql")]


def test_finished_traces_wait_for_their_topic_but_not_in_any_number(monkeypatch):
    """Beyond that the oldest goes without; a request that is given up is not waited for."""
    monkeypatch.setattr(decoding.trace_recorder, "MOST_HELD", 2)
    found: list[SpeculationTrace] = []
    recorder = TraceRecorder("target", found.append)
    loop = loop_with(ToyModel(6, 3), 6, recorder=recorder)
    for name in "abcd":
        recorder.await_topic(name)
        request = make_request([1] * (ord(name) - 96), SamplingParams(max_tokens=2), request_id=name, is_traced=True)
        if name == "b":
            loop.admit(request)
            loop.cancel("b")
            recorder.settle("b", None)
        else:
            loop.run([request])
    assert [(trace.prompt_length, trace.topic) for trace in found] == [(1, None)]
    recorder.settle("d", "sql")
    recorder.settle_all()
    assert [(trace.prompt_length, trace.topic) for trace in found[1:]] == [(4, "sql"), (3, None)]
    assert not recorder._undecided


def test_an_answer_that_is_ended_from_outside_leaves_what_was_said_until_then():
    """At a stop string, of which the loop knows nothing; one that has said nothing yet leaves nothing."""
    found: list[SpeculationTrace] = []
    loop = loop_with(ToyModel(6, 3, num_slots=1), 6, recorder=TraceRecorder("target", found.append, top=3))
    for name in ("a", "b"):
        loop.admit(make_request(PROMPT, SamplingParams(max_tokens=30), request_id=name, is_traced=True))
    for _ in range(4):
        loop.step()
    assert loop.cancel("a", FinishReason.STOP)
    assert loop.cancel("b", FinishReason.STOP)
    [trace] = found
    assert (trace.finish_reason, trace.answer_ids) == (FinishReason.STOP, ToyModel(6, 3).greedy(PROMPT, 4))
    assert trace.top_ids.shape == (4, 3)


def test_the_draft_of_a_trace_is_the_model_that_proposed_last():
    """With its version; prompt lookup counts only where no model proposed."""
    found: list[SpeculationTrace] = []
    recorder = TraceRecorder("t", found.append, label=lambda name: f"{name}@v1", copiers=["lookup"])
    loop = loop_with(ToyModel(6, 3), 6, recorder=recorder)
    for order in (["lookup", "model", "lookup"], ["model", "twin"], ["lookup"], [None]):
        request = make_request(PROMPT * 4, SamplingParams(max_tokens=40), is_traced=True, num_draft_tokens=2)
        loop.admit(request)
        for name in order:
            loop.assign("r", name)
            for _ in range(4):
                loop.step()
        loop.run([])  # to the end, with the last one
    assert [trace.draft for trace in found] == ["model@v1", "twin@v1", "lookup@v1", None]


def test_a_lossy_answer_is_not_traced():
    """It depends on its draft, so it says nothing of others."""
    with pytest.raises(ValueError, match="lossy"):
        make_request(PROMPT, SamplingParams(temperature=1.0, lossy=Typical()), is_traced=True)


def test_the_number_of_alternatives_is_checked():
    """Before anything is decoded."""
    for top in (0, 257):
        with pytest.raises(ValueError, match=f"top is {top}"):
            TraceRecorder("t", print, top)
