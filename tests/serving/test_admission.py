from typing import Any

import pytest

from configs.errors import PolydraftError, RequestError
from decoding.lossy import Lenient, Typical
from serving.admission import Admission, Limits, choices
from serving.errors import PromptTooLongError, UnknownModelError
from serving.schema import ChatRequest, CompletionRequest
from serving.text import TextCodec
from serving.wire import Job

MESSAGES = [
    {"role": "user", "content": "the first"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "on"},
]


@pytest.fixture
def admission(codec: TextCodec) -> Admission:
    limits = Limits("toy", 64, 16, codec.vocab_size, ("general", "sql", "lookup"), frozenset([0]))
    return Admission(codec, limits)


def completion(admission: Admission, **fields: Any) -> Job:
    return admission.completion(CompletionRequest(**{"model": "toy", "prompt": "the", **fields}), "r")


class TestAdmission:
    def test_the_defaults_are_those_of_openai(self, admission: Admission) -> None:
        """Temperature and top_p are 1; the length is the deployment's."""
        sampling = completion(admission).sampling
        assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens) == (1.0, 1.0, 0, 16)
        assert sampling.stop_token_ids == {0}

    def test_a_temperature_too_small_to_divide_by_is_greedy(self, admission: Admission) -> None:
        """Otherwise one request's overflow would fail the step of all."""
        assert completion(admission, temperature=1e-40).sampling.is_greedy

    def test_without_a_seed_answers_differ(self, admission: Admission) -> None:
        """Each request draws its own."""
        assert completion(admission).sampling.seed != completion(admission).sampling.seed

    @pytest.mark.parametrize("seed", [0, -1, 7, 2**80])
    def test_any_whole_number_is_a_seed(self, admission: Admission, seed: int) -> None:
        """What the generator takes is narrower than what clients send."""
        assert 0 <= completion(admission, seed=seed).sampling.seed < 2**63

    def test_the_answer_is_bounded_by_the_room_that_the_prompt_leaves(self, admission: Admission) -> None:
        """Prompt and answer share the deployment's length."""
        job = completion(admission, prompt=[5] * 60, max_tokens=1000)
        assert job.sampling.max_tokens == 4

    def test_the_router_reads_the_last_user_turn(self, admission: Admission) -> None:
        """What came before may have been about something else."""
        assert admission.chat(ChatRequest(model="toy", messages=MESSAGES), "r").query == "on"

    def test_token_ids_are_taken_as_they_are(self, admission: Admission, codec: TextCodec) -> None:
        """And turned into text for the router."""
        ids = codec.encode("the one")
        job = completion(admission, prompt=ids)
        assert (job.token_ids, job.query) == (ids, "the one")

    @pytest.mark.parametrize(
        ("fields", "kind", "param"),
        [
            ({"model": "gpt-4"}, UnknownModelError, "model"),
            ({"draft": "sq"}, RequestError, "draft"),
            ({"prompt": ""}, RequestError, "prompt"),
            ({"prompt": []}, RequestError, "prompt"),
            ({"prompt": [-1]}, RequestError, "prompt"),
            ({"prompt": [10**6]}, RequestError, "prompt"),
            ({"prompt": [5] * 64}, PromptTooLongError, "prompt"),
            ({"prompt": "x" * 64}, PromptTooLongError, "prompt"),
            ({"prompt": "the " * 10**5}, PromptTooLongError, "prompt"),
            ({"logit_bias": {"1000000": 1}}, RequestError, "logit_bias"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, admission: Admission, fields: dict[str, Any], kind: type[PolydraftError], param: str
    ) -> None:
        """By class, for the HTTP status, and by parameter."""
        with pytest.raises(kind) as raised:
            completion(admission, **fields)
        assert getattr(raised.value, "param", None) == param

    @pytest.mark.parametrize("draft", ["auto", "none", "sql", "lookup", None])
    def test_a_draft_may_be_named(self, admission: Admission, draft: str | None) -> None:
        """Nothing said means auto."""
        assert completion(admission, draft=draft).draft == (draft or "auto")

    @pytest.mark.parametrize("draft", ["sql+lookup", "sql+sql", "sql+nope", "auto+sql", "+", "sql+"])
    def test_only_different_drafts_can_be_joined(self, admission: Admission, draft: str) -> None:
        """Their trees are merged; prompt lookup grows none."""
        assert completion(admission, draft="sql+general").draft == "sql+general"
        with pytest.raises(RequestError, match="not served here"):
            completion(admission, draft=draft)

    def test_a_lossy_rule_is_passed_on_with_its_settings(self, admission: Admission) -> None:
        """Off by default."""
        assert completion(admission).sampling.lossy is None
        assert completion(admission, lossy={"rule": "typical", "delta": 0.5}).sampling.lossy == Typical(delta=0.5)
        assert completion(admission, lossy={"rule": "lenient", "lenience": 3.0}).sampling.lossy == Lenient(3.0)

    def test_sampling_settings_are_passed_on(self, admission: Admission) -> None:
        """Under OpenAI's and vLLM's names; what is not said changes nothing."""
        said = {"min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": -0.4}
        sampling = completion(admission, **said, logit_bias={"3": -100, "4": 1.5}, logprobs=2).sampling
        assert {name: getattr(sampling, name) for name in said} == said
        assert sampling.logit_bias == ((3, -100), (4, 1.5))
        assert sampling.num_logprobs == 2
        assert not completion(admission).sampling.has_processors
        assert completion(admission).sampling.num_logprobs is None

    def test_the_end_token_may_be_ignored(self, admission: Admission) -> None:
        """The answer then goes on to its full length."""
        assert completion(admission, ignore_eos=True).sampling.stop_token_ids == frozenset()
        assert completion(admission, ignore_eos=False).sampling.stop_token_ids == {0}

    def test_a_request_is_kept_out_of_the_traces_by_asking_for_it(self, admission: Admission) -> None:
        """Saying nothing, or asking to be traced, leaves it to the deployment."""
        said = [None, {}, {"trace": True}, {"tokens": True}, {"trace": False}]
        assert [completion(admission, polydraft=extras).may_trace for extras in said] == [True] * 4 + [False]


class TestChoices:
    def test_each_choice_is_a_job_with_a_seed_of_its_own(self, admission: Admission) -> None:
        """The first is the request as it would be alone; nothing but name and seed differs in the others."""
        job = completion(admission, seed=7)
        jobs = choices(job, 4)
        assert jobs[0] == job
        assert len({each.request_id for each in jobs}) == len({each.sampling.seed for each in jobs}) == 4
        assert all(0 <= each.sampling.seed < 2**63 for each in jobs)
        assert len({(tuple(each.token_ids), each.query, each.sampling.temperature) for each in jobs}) == 1

    def test_a_seed_repeats_all_choices(self, admission: Admission) -> None:
        """However many are asked for."""
        seeds = [[each.sampling.seed for each in choices(completion(admission, seed=7), count)] for count in (2, 5)]
        assert seeds[0] == seeds[1][:2]
