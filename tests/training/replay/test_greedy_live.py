"""At temperature 0 replay gives the very counts of a live run, for every draft and length."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decoding.load import load_draft, load_model
from decoding.lossy import Lenient
from decoding.native_model import NativeModel
from decoding.output_vocabulary import write_output_vocabulary
from decoding.request import SamplingParams
from drafts.model_drafter import ModelDrafter
from tests.decoding.conftest import write_checkpoint
from tests.toys import ToyModel
from tests.training.replay.recorded import answered, recorded, trace_of
from training.replay import acceptances, expected_by_position, expected_drafted, expected_runs, greedy_acceptances

STARTER = Path(__file__).parents[3] / "starter"
LENGTHS = range(1, 7)


class NoisyToy(ToyModel):
    """A draft that has learned its target, but not all of it."""

    def __init__(self, target, seed, noise):
        super().__init__(target.config.vocab_size, seed, num_slots=3)
        self._target, self._noise = target, noise

    def logits(self, context):
        return self._target.logits(context) + self._noise * super().logits(context)


def live_counts(target, draft, prompt, sampling, length):
    drafters = {"draft": ModelDrafter(draft)}
    request = answered(target, prompt, sampling, drafters=drafters, drafter="draft", num_draft_tokens=length)
    return request.generated, request.counts


@pytest.mark.parametrize("settings", [{}, {"stop_token_ids": frozenset({2})}, {"frequency_penalty": 1.0}])
@pytest.mark.parametrize("max_tokens", [1, 2, 3, 29])
def test_counts_of_random_models_are_the_live_ones(max_tokens, settings):
    """Target runs and drafted tokens, with stop tokens, penalties, short answers and prompts of one token."""
    target = ToyModel(6, 1)
    sampling = SamplingParams(max_tokens=max_tokens, **settings)
    prompts = [[5], [1, 0], [3, 4, 4], [1] * 7]
    for draft in (NoisyToy(target, 9, 0.3), NoisyToy(target, 8, 1.0), ToyModel(6, 4)):
        traces = [trace_of(target, prompt, sampling) for prompt in prompts]
        found = acceptances(draft, traces)
        runs, drafted = expected_runs(found, 6), expected_drafted(found, 6)
        for row, (prompt, trace) in enumerate(zip(prompts, traces, strict=True)):
            for length in LENGTHS:
                tokens, counts = live_counts(target, draft, prompt, sampling, length)
                assert tokens == trace.answer_ids
                assert runs[row, length - 1] == counts.num_target_runs
                assert drafted[row, length - 1] == counts.num_draft_tokens


def test_acceptance_by_position_is_the_live_one():
    """Where no stop token cuts a proposal, accepted tokens agree position by position."""
    target = ToyModel(6, 1)
    draft, sampling = NoisyToy(target, 9, 0.4), SamplingParams(max_tokens=60)
    found = acceptances(draft, [trace_of(target, [1, 2], sampling)])
    _, counts = live_counts(target, draft, [1, 2], sampling, 4)
    accepted = expected_by_position(found, 4).accepted.tolist()
    assert accepted[: len(counts.num_accepted_tokens_per_pos)] == counts.num_accepted_tokens_per_pos


@pytest.mark.parametrize("prompt_length", [1, 2, 256, 257, 258])
def test_the_token_that_the_prompt_leaves_over_is_known(tmp_path, prompt_length):
    """A prompt is read in chunks of 256: where one token is left over, the first token of the answer is proposed."""
    folder = write_checkpoint(tmp_path / "model", "llama", max_position_embeddings=512)
    target, draft = load_model(folder, 2, 400), load_model(folder, 2, 400)
    sampling = SamplingParams(max_tokens=9)
    prompt = [3 + n % 50 for n in range(prompt_length)]
    request = answered(target, prompt, sampling)
    runs = expected_runs(acceptances(draft, [recorded(target, request)]), 4)[0, 3]
    _, counts = live_counts(target, draft, prompt, sampling, 4)
    assert runs == counts.num_target_runs


def test_a_trimmed_head_is_replayed_as_it_drafts(tmp_path):
    """What the draft cannot say is never accepted, and the counts are still the live ones."""
    folder = write_checkpoint(tmp_path / "model", "llama")
    target = load_model(folder, 2, 100)
    prompts = [[3, n + 4, 7] for n in range(6)]
    sampling = SamplingParams(max_tokens=30)
    traces = [trace_of(target, prompt, sampling) for prompt in prompts]
    said = [token for trace in traces for token in trace.answer_ids]
    kept = sorted({*said} - {max(said, key=said.count)})
    write_output_vocabulary(folder, kept)
    draft = load_model(folder, 3, 100)
    found = acceptances(draft, traces)
    for prompt, trace, acceptance, runs in zip(prompts, traces, found, expected_runs(found, 6), strict=True):
        assert acceptance.values.tolist() == [float(token in kept) for token in trace.answer_ids]
        assert runs.tolist() == [live_counts(target, draft, prompt, sampling, k)[1].num_target_runs for k in LENGTHS]


def test_the_drafts_of_the_starter_replay_to_their_live_counts():
    """Real drafts with trimmed heads, answers that end in a stop token and answers that are cut."""
    target = load_model(STARTER / "target", 2, 256)
    if not isinstance(target, NativeModel):
        pytest.skip("needs the compiled kernel: on torch this takes minutes")
    stops = frozenset(target.config.eos_token_ids)
    prompts = [[3, 3 + 31 * n, 400 + n, 4] for n in range(1, 4)]
    for topic in ("sql", "chat", "general"):
        draft = load_draft(STARTER / "drafts" / topic, 3, 256)
        requests = [answered(target, p, SamplingParams(max_tokens=48, stop_token_ids=stops)) for p in prompts]
        found = acceptances(draft, [recorded(target, request) for request in requests])
        text_only = greedy_acceptances(draft, [r.token_ids for r in requests], [4] * len(requests), max_tokens=48)
        assert all(torch.equal(one.values, other.values) for one, other in zip(found, text_only, strict=True))
        for request, runs in zip(requests, expected_runs(found, 6), strict=True):
            prompt, sampling = request.prompt_token_ids, request.sampling
            live = [live_counts(target, draft, prompt, sampling, length)[1] for length in LENGTHS]
            assert runs.tolist() == [counts.num_target_runs for counts in live]


def test_what_cannot_be_replayed_is_refused():
    """A text beyond the draft's cache, and answers whose law is not the target's."""
    target = ToyModel(6, 1)
    trace = trace_of(target, [1, 2], SamplingParams(max_tokens=40))
    with pytest.raises(ValueError, match="cache holds 16"):
        acceptances(ToyModel(6, 2, max_length=16), [trace])
    lossy = SamplingParams(temperature=1.0, lossy=Lenient(2.0))
    with pytest.raises(ValueError, match="lossy"):
        acceptances(ToyModel(6, 2), [replace(trace, sampling=lossy)])
